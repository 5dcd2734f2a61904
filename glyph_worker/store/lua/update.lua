-- Write fields of a running job and renew its lease, if the attempt still holds it.
-- KEYS[1] record
-- ARGV[1] attempt  ARGV[2] owner  ARGV[3] lease seconds  ARGV[4] ttl seconds  ARGV[5..] field, value, …
-- Returns 1 written, 2 written and a cancel is asked, 0 fenced off or final, -1 no record.
local time = redis.call('TIME')
local record = redis.call('HMGET', KEYS[1], 'status', 'attempt', 'owner', 'cancel_requested')
if not record[1] then return -1 end
if record[1] ~= 'running' or record[2] ~= ARGV[1] or record[3] ~= ARGV[2] then return 0 end
redis.call('HSET', KEYS[1], 'lease_until', time[1] + time[2] / 1e6 + ARGV[3], unpack(ARGV, 5))
redis.call('EXPIRE', KEYS[1], ARGV[4])
if record[4] == '1' then return 2 end
return 1
