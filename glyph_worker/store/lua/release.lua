-- Put a running job back to queued: handed to the next stage, or handed back unfinished.
-- KEYS[1] record
-- ARGV[1] attempt  ARGV[2] owner  ARGV[3] ttl seconds  ARGV[4] handed_over (1 or 0)
-- ARGV[5..] field, value, …
-- Returns 1 released, 0 fenced off or final, -1 no record.
local time = redis.call('TIME')
local record = redis.call('HMGET', KEYS[1], 'status', 'attempt', 'owner')
if not record[1] then return -1 end
if record[1] ~= 'running' or record[2] ~= ARGV[1] or record[3] ~= ARGV[2] then return 0 end
redis.call('HSET', KEYS[1], 'status', 'queued', 'lease_until', '0', 'owner', '',
           'queued_at', time[1] + time[2] / 1e6, 'handed_over', ARGV[4], unpack(ARGV, 5))
redis.call('EXPIRE', KEYS[1], ARGV[3])
return 1
