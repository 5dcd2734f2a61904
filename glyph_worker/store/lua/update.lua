-- Write fields of a running job and renew its lease, if the attempt still holds it.
-- ARGV[2] id  [3] attempt  [4] owner  [5] lease seconds  [6..] field, value, …
-- Returns 1 written, 2 written and a cancel is asked or the deadline has passed, 0 fenced off or
-- final, -1 no record.
local record = key('job', ARGV[2])
local seen = redis.call('HMGET', record, 'status', 'attempt', 'owner', 'cancel_requested')
if not seen[1] then return -1 end
if seen[1] ~= 'running' or seen[2] ~= ARGV[3] or seen[3] ~= ARGV[4] then return 0 end
redis.call('HSET', record, 'lease_until', now + ARGV[5], unpack(ARGV, 6))
if seen[4] == '1' then return 2 end
return 1
