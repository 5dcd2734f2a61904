-- A slice of the jobs that are not final, with what the reconciler must know of each.
-- ARGV[2] first rank  [3] how many  [4] packed error of a passed deadline
-- Returns {now, id, status, stage, queued_at, lease_until, handed_over, dispatched, id, …}; forgets
-- ids whose record is gone or final, and fails queued jobs whose deadline has passed.
local found = {tostring(now)}
local first, last = ARGV[2], ARGV[2] + ARGV[3] - 1
for _, id in ipairs(redis.call('ZRANGE', key('active'), first, last)) do
  local record = key('job', id)
  local seen = redis.call('HMGET', record, 'status', 'stage', 'queued_at', 'lease_until',
                          'handed_over', 'dispatched', 'deadline_at', 'document_digest',
                          'idempotency', 'tenant', 'priority', 'parked')
  if not unfinished(seen[1]) then
    redis.call('ZREM', key('active'), id)
  elseif seen[1] == 'queued' and seen[7] and tonumber(seen[7]) < now then
    finish(id, 'failed', 'error', ARGV[4])
  else
    -- Queued or claimed by a version that let a waiting record expire.
    if redis.call('TTL', record) >= 0 then
      redis.call('PERSIST', record)
      redis.call('PERSIST', key('pending', seen[11] or '0', seen[10] or ''))
      redis.call('PERSIST', key('ring', seen[11] or '0'))
    end
    -- Such a version's workers also give an expiry to whatever document they read.
    if seen[8] and redis.call('TTL', key('blob', seen[8])) >= 0 then keep_document(seen[8], id) end
    if seen[9] then
      redis.call('EXPIRE', key('idempotency', seen[10] or '', seen[9]), LONGEST)
    end
    if seen[12] == '1' then
      -- It has no message, and needs none, while a part is to end: parts whose records were lost
      -- with their server's disk never will.
      for _, part in ipairs(redis.call('SRANDMEMBER', key('parts', id), 50)) do
        if not unfinished(redis.call('HGET', key('job', part), 'status')) then
          leave_parent(id, part)
        end
      end
      if redis.call('HGET', record, 'parked') == '1' and redis.call('EXISTS', key('parts', id)) == 0
      then
        resume(id)
      end
    else
      table.insert(found, id)
      for field = 1, 6 do table.insert(found, seen[field] or '') end
    end
  end
end
-- Documents of jobs that such a version ended, or whose record is gone.
for _, member in ipairs(redis.call('ZRANGE', key('needed'), first, last)) do
  local document, id = string.match(member, '^(.-)/(.*)$')
  if not unfinished(redis.call('HGET', key('job', id), 'status')) then
    leave_document(document, id, TTL)
  end
end
return found
