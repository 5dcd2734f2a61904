-- A slice of the jobs that are not final, with what the reconciler must know of each.
-- KEYS[1] active set  KEYS[2] prefix of records
-- ARGV[1] first rank  ARGV[2] how many
-- Returns {now, id, status, stage, queued_at, lease_until, handed_over, id, …}; forgets ids whose
-- record is gone or final.
local time = redis.call('TIME')
local found = {tostring(time[1] + time[2] / 1e6)}
for _, id in ipairs(redis.call('ZRANGE', KEYS[1], ARGV[1], ARGV[1] + ARGV[2] - 1)) do
  local record = redis.call('HMGET', KEYS[2] .. id, 'status', 'stage', 'queued_at', 'lease_until',
                            'handed_over')
  if record[1] ~= 'queued' and record[1] ~= 'running' then
    redis.call('ZREM', KEYS[1], id)
  else
    table.insert(found, id)
    for field = 1, 5 do table.insert(found, record[field] or '') end
  end
end
return found
