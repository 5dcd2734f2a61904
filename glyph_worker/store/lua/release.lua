-- Put a running job back to queued: handed to the answer stage with a message of its own, or handed
-- back unfinished, with the message that led to it.
-- ARGV[2] id  [3] attempt  [4] owner  [5] handed over (1 or 0)  [6..] field, value, …
-- Returns 1 released, 0 fenced off or final, -1 no record.
local record = key('job', ARGV[2])
local seen = redis.call('HMGET', record, 'status', 'attempt', 'owner')
if not seen[1] then return -1 end
if seen[1] ~= 'running' or seen[2] ~= ARGV[3] or seen[3] ~= ARGV[4] then return 0 end
-- An orderly end of an attempt: whatever went wrong before was not this job's doing.
redis.call('HSET', record, 'status', 'queued', 'lease_until', '0', 'owner', '', 'queued_at', now,
           'handed_over', ARGV[5], 'admitted', '0', 'strikes', '0', unpack(ARGV, 6))
if ARGV[5] == '1' then publish(ANSWER, ARGV[2]) end
note(ARGV[2], ARGV[5] == '1' and 'handed_over' or 'handed_back', ARGV[3], ARGV[4])
return 1
