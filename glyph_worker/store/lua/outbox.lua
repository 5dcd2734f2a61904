-- Take ended jobs of which a Celery application is to be told, each for a while: whoever takes one
-- and dies leaves it to the next.
-- ARGV[2] tenant  [3] application  [4] how many  [5] seconds until one that is not settled is due again
-- Returns {id, links, …}; forgets those whose record is gone.
local outbox, found = key('outbox', ARGV[2], ARGV[3]), {}
for _, id in ipairs(redis.call('ZRANGEBYSCORE', outbox, '-inf', now, 'LIMIT', 0, ARGV[4])) do
  local links = redis.call('HGET', key('job', id), 'links')
  if not links then
    redis.call('ZREM', outbox, id)
  else
    redis.call('ZADD', outbox, now + ARGV[5], id)
    table.insert(found, id)
    table.insert(found, links)
  end
end
return found
