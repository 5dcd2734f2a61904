-- End a job, once: only the attempt that holds it may, and never over a final status.
-- KEYS[1] record  KEYS[2] active set
-- ARGV[1] id  ARGV[2] attempt ('' ends a job that nobody holds)  ARGV[3] owner  ARGV[4] ttl seconds
-- ARGV[5] final status  ARGV[6..] field, value, …
-- Returns 1 committed, 0 fenced off or already final, -1 no record.
local time = redis.call('TIME')
local now = time[1] + time[2] / 1e6
local record = redis.call('HMGET', KEYS[1], 'status', 'attempt', 'owner', 'lease_until')
if not record[1] then return -1 end
if record[1] ~= 'queued' and record[1] ~= 'running' then return 0 end
if ARGV[2] == '' then
  if record[1] == 'running' and tonumber(record[4] or '0') > now then return 0 end
elseif record[1] ~= 'running' or record[2] ~= ARGV[2] or record[3] ~= ARGV[3] then
  return 0
end
redis.call('HSET', KEYS[1], 'status', ARGV[5], 'finished_at', now, 'stage', '', 'owner', '',
           'lease_until', '0', unpack(ARGV, 6))
-- Never above 1: the chaos checker reads it back.
redis.call('HINCRBY', KEYS[1], 'num_commits', 1)
redis.call('EXPIRE', KEYS[1], ARGV[4])
redis.call('ZREM', KEYS[2], ARGV[1])
return 1
