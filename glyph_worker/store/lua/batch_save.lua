-- Keep how far a batch is.
-- ARGV[2] tenant  [3] id  [4] state  [5] seconds until it is due again, '' for one that is final
-- Returns 1, or 0 where it is final already: the first end stays.
local record, member = key('batch', ARGV[2], ARGV[3]), ARGV[2] .. '/' .. ARGV[3]
if not redis.call('ZSCORE', key('batching'), member) then return 0 end
redis.call('HSET', record, 'state', ARGV[4])
redis.call('EXPIRE', record, TTL)
if ARGV[5] == '' then
  redis.call('ZREM', key('batching'), member)
  redis.call('HDEL', record, 'lines', 'cancel')
else
  redis.call('ZADD', key('batching'), 'XX', now + ARGV[5], member)
  redis.call('EXPIRE', key('batching'), TTL)
end
return 1
