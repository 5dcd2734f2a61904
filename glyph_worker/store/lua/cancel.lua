-- Ask for a cancel. A queued job ends at once, as does one that waits for its parts, and they with
-- it; a running one ends at its next step.
-- ARGV[2] id  [3] tenant
-- Returns cancelled, requested, final or unknown.
local record = key('job', ARGV[2])
local seen = redis.call('HMGET', record, 'status', 'lease_until', 'tenant', 'parked')
if not seen[1] or seen[3] ~= ARGV[3] then return 'unknown' end
if seen[1] ~= 'queued' and seen[1] ~= 'running' then return 'final' end
redis.call('HSET', record, 'cancel_requested', '1')
if seen[1] == 'queued' or seen[4] == '1' or tonumber(seen[2] or '0') <= now then
  finish(ARGV[2], 'cancelled')
  return 'cancelled'
end
redis.call('PUBLISH', key('cancels'), ARGV[2])
return 'requested'
