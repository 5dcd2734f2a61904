-- Take over a message that waits under a name of before, when queues carried no prefix.
-- ARGV[2] id  [3] the old list  [4] the message  [5] queue
-- Returns 1 published under its new name, 0 dropped (its job is final) or gone from the old list,
-- -1 no record of ours: another prefix's message, or another application's, and left where it is.
local status = redis.call('HGET', key('job', ARGV[2]), 'status')
if not status then return -1 end
if redis.call('LREM', ARGV[3], 1, ARGV[4]) == 0 then return 0 end
if status ~= 'queued' and status ~= 'running' then return 0 end
publish(ARGV[5], ARGV[2])
return 1
