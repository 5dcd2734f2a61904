-- End a webhook, or put it off.
-- ARGV[2] id  [3] seconds until the next try, or '' when there is none  [4] what became of it;
-- with a next try, 'untried' when this one did not happen
-- Returns 1.
if ARGV[3] == '' then
  redis.call('ZREM', key('webhooks'), ARGV[2])
  if redis.call('EXISTS', key('job', ARGV[2])) == 1 then
    redis.call('HSET', key('job', ARGV[2]), 'webhook_outcome', ARGV[4])
  end
else
  redis.call('ZADD', key('webhooks'), 'XX', now + ARGV[3], ARGV[2])
  if ARGV[4] == 'untried' and redis.call('EXISTS', key('job', ARGV[2])) == 1 then
    redis.call('HINCRBY', key('job', ARGV[2]), 'webhook_tries', -1)
  end
end
return 1
