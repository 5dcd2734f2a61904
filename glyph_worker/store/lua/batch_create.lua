-- Keep a batch and its lines, due at once; one of the same id stays as it is.
-- ARGV[2] tenant  [3] id  [4] state  [5] compressed lines
-- Returns the state that is kept.
local record, index = key('batch', ARGV[2], ARGV[3]), key('batches', ARGV[2])
local state = redis.call('HGET', record, 'state')
if state then return state end
redis.call('HSET', record, 'state', ARGV[4], 'lines', ARGV[5])
redis.call('EXPIRE', record, TTL)
redis.call('ZADD', index, now, ARGV[3])
redis.call('ZREMRANGEBYRANK', index, 0, -10001)
redis.call('EXPIRE', index, TTL)
redis.call('ZADD', key('batching'), now, ARGV[2] .. '/' .. ARGV[3])
redis.call('EXPIRE', key('batching'), TTL)
return ARGV[4]
