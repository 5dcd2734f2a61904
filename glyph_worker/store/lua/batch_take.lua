-- Take batches that are due, each for a while: whoever takes one and dies leaves it to the next.
-- ARGV[2] how many  [3] seconds until one that is not saved is due again
-- Returns {tenant, id, …}; forgets those whose record is gone.
local found, due = {}, key('batching')
for _, member in ipairs(redis.call('ZRANGEBYSCORE', due, '-inf', now, 'LIMIT', 0, ARGV[2])) do
  local tenant, id = string.match(member, '^(.-)/(.*)$')
  if redis.call('EXISTS', key('batch', tenant, id)) == 0 then
    redis.call('ZREM', due, member)
  else
    redis.call('ZADD', due, now + ARGV[3], member)
    table.insert(found, tenant)
    table.insert(found, id)
  end
end
return found
