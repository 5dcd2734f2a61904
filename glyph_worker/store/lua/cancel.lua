-- Ask for a cancel. A queued job ends at once; a running one ends at its next step.
-- KEYS[1] record  KEYS[2] active set
-- ARGV[1] id  ARGV[2] ttl seconds  ARGV[3] channel of cancels
-- Returns cancelled, requested, final or unknown.
local time = redis.call('TIME')
local now = time[1] + time[2] / 1e6
local record = redis.call('HMGET', KEYS[1], 'status', 'lease_until')
local status = record[1]
if not status then return 'unknown' end
if status ~= 'queued' and status ~= 'running' then return 'final' end
redis.call('HSET', KEYS[1], 'cancel_requested', '1')
if status == 'queued' or tonumber(record[2] or '0') <= now then
  redis.call('HSET', KEYS[1], 'status', 'cancelled', 'finished_at', now, 'stage', '', 'owner', '')
  redis.call('EXPIRE', KEYS[1], ARGV[2])
  redis.call('ZREM', KEYS[2], ARGV[1])
  return 'cancelled'
end
redis.call('PUBLISH', ARGV[3], ARGV[1])
return 'requested'
