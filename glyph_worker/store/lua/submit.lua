-- Create a job's record and put it behind its tenant's others. Never overwrites one.
-- ARGV[2] id  [3] tenant  [4] priority 0 or 1  [5] cost  [6] most unfinished jobs  [7] of a tenant
-- [8] window  [9] idempotency key, hashed, or ''  [10] payload digest  [11] ttl of this job
-- [12..] field, value, …
-- Returns {'created', id}, {'same', id}, {'conflict', id}, {'exists', id},
-- {'queue_full', number} or {'quota_exceeded', number}.
local id, tenant, priority, cost = ARGV[2], ARGV[3], ARGV[4], tonumber(ARGV[5])
if ARGV[9] ~= '' then
  local before = redis.call('HMGET', key('idempotency', tenant, ARGV[9]), 'id', 'payload')
  if before[1] then
    return {before[2] == ARGV[10] and 'same' or 'conflict', before[1]}
  end
end
if redis.call('EXISTS', key('job', id)) == 1 then return {'exists', id} end
local active, own = key('active'), key('active', tenant)
redis.call('ZREMRANGEBYSCORE', own, '-inf', now - 10 * TTL)
if redis.call('ZCARD', active) >= tonumber(ARGV[6]) then
  return {'queue_full', tostring(redis.call('ZCARD', active))}
end
if redis.call('ZCARD', own) >= tonumber(ARGV[7]) then
  return {'quota_exceeded', tostring(redis.call('ZCARD', own))}
end
local pending, ring = key('pending', priority, tenant), key('ring', priority)
local _, ahead = line_before(tonumber(priority), tenant, redis.call('LLEN', pending))
local _, p90_s, predicted_s = estimate(cost, ahead)
redis.call('HSET', key('job', id), 'status', 'queued', 'created_at', now, 'queued_at', now,
           'tenant', tenant, 'priority', priority, 'cost', cost, 'ttl_s', ARGV[11],
           'ahead', ahead, 'predicted_s', predicted_s, unpack(ARGV, 12))
if p90_s then redis.call('HSET', key('job', id), 'p90_s', p90_s) end
redis.call('EXPIRE', key('job', id), math.max(TTL, tonumber(ARGV[11])))
redis.call('ZADD', active, now, id)
redis.call('ZADD', own, now, id)
redis.call('EXPIRE', own, 10 * TTL)
redis.call('INCRBYFLOAT', key('backlog'), cost)
redis.call('EXPIRE', key('backlog'), 2592000)
if ARGV[9] ~= '' then
  redis.call('HSET', key('idempotency', tenant, ARGV[9]), 'id', id, 'payload', ARGV[10])
  redis.call('EXPIRE', key('idempotency', tenant, ARGV[9]), math.max(TTL, tonumber(ARGV[11])))
end
redis.call('RPUSH', pending, id)
if not redis.call('LPOS', ring, tenant) then redis.call('RPUSH', ring, tenant) end
redis.call('EXPIRE', pending, math.max(TTL, tonumber(ARGV[11])))
redis.call('EXPIRE', ring, math.max(TTL, tonumber(ARGV[11])))
note(id, 'queued')
dispatch(tonumber(ARGV[8]))
return {'created', id}
