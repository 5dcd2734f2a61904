-- Ask for a batch's cancel. ARGV[2] tenant  [3] id
-- Returns 1, or 0 where it is final or there is none.
local member = ARGV[2] .. '/' .. ARGV[3]
if not redis.call('ZSCORE', key('batching'), member) then return 0 end
redis.call('HSET', key('batch', ARGV[2], ARGV[3]), 'cancel', '1')
redis.call('ZADD', key('batching'), 'XX', now, member)
return 1
