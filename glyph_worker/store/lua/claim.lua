-- Take the right to work on a job. A claim after a crash is a new attempt, which fences the old one.
-- KEYS[1] record  KEYS[2] active set
-- ARGV[1] id  ARGV[2] owner  ARGV[3] lease seconds  ARGV[4] stage  ARGV[5] ttl seconds
-- Returns {verdict, attempt}; verdict: claimed, unknown, final, cancelled, held.
local time = redis.call('TIME')
local now = time[1] + time[2] / 1e6
local record = redis.call('HMGET', KEYS[1], 'status', 'attempt', 'lease_until', 'owner',
                          'cancel_requested', 'handed_over', 'queued_at', 'queue_ms')
local status, attempt = record[1], tonumber(record[2] or '0')
if not status then return {'unknown', 0} end
if status ~= 'queued' and status ~= 'running' then return {'final', attempt} end
if record[5] == '1' then
  redis.call('HSET', KEYS[1], 'status', 'cancelled', 'finished_at', now, 'stage', '')
  redis.call('ZREM', KEYS[2], ARGV[1])
  redis.call('EXPIRE', KEYS[1], ARGV[5])
  return {'cancelled', attempt}
end
if status == 'running' and tonumber(record[3] or '0') > now and record[4] ~= ARGV[2] then
  return {'held', attempt}
end
-- An orderly handover between stages stays the same attempt.
if not (status == 'queued' and record[6] == '1') then attempt = attempt + 1 end
local waited = tonumber(record[8] or '0')
if status == 'queued' then waited = waited + (now - tonumber(record[7] or now)) * 1000 end
redis.call('HSET', KEYS[1], 'status', 'running', 'stage', ARGV[4], 'attempt', attempt,
           'owner', ARGV[2], 'lease_until', now + ARGV[3], 'handed_over', '0', 'queue_ms', waited)
redis.call('HSETNX', KEYS[1], 'started_at', now)
redis.call('EXPIRE', KEYS[1], ARGV[5])
return {'claimed', attempt}
