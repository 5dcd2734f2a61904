-- Create a job's record. Never overwrites one.
-- KEYS[1] record  KEYS[2] active set
-- ARGV[1] id  ARGV[2] ttl seconds  ARGV[3..] field, value, …
-- Returns 1 when created, 0 when a record of this id exists.
local time = redis.call('TIME')
local now = time[1] + time[2] / 1e6
if redis.call('EXISTS', KEYS[1]) == 1 then return 0 end
redis.call('HSET', KEYS[1], 'status', 'queued', 'created_at', now, 'queued_at', now, unpack(ARGV, 3))
redis.call('EXPIRE', KEYS[1], ARGV[2])
redis.call('ZADD', KEYS[2], now, ARGV[1])
return 1
