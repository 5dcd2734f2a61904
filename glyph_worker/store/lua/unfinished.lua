-- A slice of the jobs that are not final, with what the reconciler must know of each.
-- ARGV[2] first rank  [3] how many  [4] packed error of a passed deadline
-- Returns {now, id, status, stage, queued_at, lease_until, handed_over, dispatched, id, …}; forgets
-- ids whose record is gone or final, and fails queued jobs whose deadline has passed.
local found = {tostring(now)}
for _, id in ipairs(redis.call('ZRANGE', key('active'), ARGV[2], ARGV[2] + ARGV[3] - 1)) do
  local seen = redis.call('HMGET', key('job', id), 'status', 'stage', 'queued_at', 'lease_until',
                          'handed_over', 'dispatched', 'deadline_at')
  if seen[1] ~= 'queued' and seen[1] ~= 'running' then
    redis.call('ZREM', key('active'), id)
  elseif seen[1] == 'queued' and seen[7] and tonumber(seen[7]) < now then
    finish(id, 'failed', 'error', ARGV[4])
  else
    table.insert(found, id)
    for field = 1, 6 do table.insert(found, seen[field] or '') end
  end
end
return found
