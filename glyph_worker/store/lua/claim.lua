-- Take the right to work on a job. A claim after a crash is a new attempt, which fences the old one.
-- ARGV[2] id  [3] owner  [4] lease seconds  [5] stage  [6] most strikes
-- [7] packed error of a poisonous job  [8] packed error of a passed deadline  [9] window, 0: none
-- Returns {verdict, attempt, strikes, record, now}, or only the first three where the verdict is not
-- claimed but unknown, final, cancelled, held or passed.
local id, record = ARGV[2], key('job', ARGV[2])
local seen = redis.call('HMGET', record, 'status', 'attempt', 'lease_until', 'owner',
                        'cancel_requested', 'handed_over', 'queued_at', 'queue_ms', 'deadline_at',
                        'admitted', 'strikes', 'parked', 'resumed')
local status, attempt, strikes = seen[1], tonumber(seen[2] or '0'), tonumber(seen[11] or '0')
if not status then return {'unknown', 0, 0} end
if status ~= 'queued' and status ~= 'running' then return {'final', attempt, strikes} end
-- It waits for its parts: the last of them publishes it again.
if status == 'running' and seen[12] == '1' then return {'passed', attempt, strikes} end
if status == 'running' and tonumber(seen[3] or '0') > now and seen[4] ~= ARGV[3] then
  return {'held', attempt, strikes}
end
-- A second message to render what was handed over since.
if status == 'queued' and seen[6] == '1' and ARGV[5] == 'rendering' then
  return {'passed', attempt, strikes}
end
if seen[5] == '1' then
  finish(id, 'cancelled')
  return {'cancelled', attempt, strikes}
end
if seen[9] and tonumber(seen[9]) < now then
  finish(id, 'failed', 'error', ARGV[8])
  return {'final', attempt, strikes}
end
-- Its last holder died at work on it, not while it waited beside others: a strike.
if status == 'running' and seen[10] == '1' then
  strikes = redis.call('HINCRBY', record, 'strikes', 1)
  note(id, 'strike', attempt, seen[4])
  if strikes >= tonumber(ARGV[6]) then
    finish(id, 'failed', 'error', ARGV[7])
    redis.call('ZADD', key('dead'), now, id)
    redis.call('ZREMRANGEBYRANK', key('dead'), 0, -10001)
    redis.call('EXPIRE', key('dead'), 2592000)
    return {'final', attempt, strikes}
  end
end
-- An orderly handover between stages stays the same attempt, as does what its parts wake again.
if not (status == 'queued' and (seen[6] == '1' or seen[13] == '1')) then attempt = attempt + 1 end
local waited = tonumber(seen[8] or '0')
if status == 'queued' then waited = waited + (now - tonumber(seen[7] or now)) * 1000 end
redis.call('HSET', record, 'status', 'running', 'stage', ARGV[5], 'attempt', attempt, 'owner',
           ARGV[3], 'lease_until', now + ARGV[4], 'handed_over', '0', 'resumed', '0', 'queue_ms', waited,
           -- A render worker begins at once, an answer worker when its gate lets the job in.
           'admitted', ARGV[5] == 'rendering' and '1' or '0')
redis.call('HSETNX', record, 'started_at', now)
note(id, 'claimed', attempt, ARGV[3])
-- The message that led here has left its queue: there is room for the next turn.
dispatch(tonumber(ARGV[9]))
return {'claimed', attempt, strikes, redis.call('HGETALL', record), tostring(now)}
