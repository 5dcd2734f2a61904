-- Take webhooks that are due, each for a while: whoever takes one and dies leaves it to the next.
-- ARGV[2] how many  [3] seconds until one that is not settled is due again
-- Returns {id, tenant, url, tries, …}; forgets those whose record is gone.
local found = {}
for _, id in ipairs(redis.call('ZRANGEBYSCORE', key('webhooks'), '-inf', now, 'LIMIT', 0, ARGV[2])) do
  local seen = redis.pcall('HMGET', key('job', id), 'webhook', 'tenant')  -- or is no hash
  if seen.err or not seen[1] or seen[1] == '' then
    redis.call('ZREM', key('webhooks'), id)
  else
    redis.call('ZADD', key('webhooks'), now + ARGV[3], id)
    local tries = redis.call('HINCRBY', key('job', id), 'webhook_tries', 1)
    for _, value in ipairs({id, seen[2] or '', seen[1], tostring(tries)}) do
      table.insert(found, value)
    end
  end
end
return found
