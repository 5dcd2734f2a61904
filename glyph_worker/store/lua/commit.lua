-- End a job, once: only the attempt that holds it may, and never over a final status.
-- ARGV[2] id  [3] attempt ('' ends a job that nobody holds)  [4] owner  [5] final status
-- [6..] field, value, …
-- Returns 1 committed, 0 fenced off or already final, -1 no record.
local seen = redis.call('HMGET', key('job', ARGV[2]), 'status', 'attempt', 'owner', 'lease_until')
if not seen[1] then return -1 end
if seen[1] ~= 'queued' and seen[1] ~= 'running' then return 0 end
if ARGV[3] == '' then
  if seen[1] == 'running' and tonumber(seen[4] or '0') > now then return 0 end
elseif seen[1] ~= 'running' or seen[2] ~= ARGV[3] or seen[3] ~= ARGV[4] then
  note(ARGV[2], 'fenced', ARGV[3], ARGV[4])
  return 0
end
finish(ARGV[2], ARGV[5], unpack(ARGV, 6))
return 1
