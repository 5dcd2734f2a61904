-- Create the records of one call's jobs, all or none, and put them behind their tenant's others.
-- Never overwrites one.
-- ARGV[2] tenant  [3] priority 0 or 1  [4] most unfinished jobs  [5] of a tenant  [6] window
-- [7..] for each job: id, cost, idempotency key (hashed, or ''), payload digest, ttl, document
-- digest, seconds to its deadline or '', number of fields that follow, field, value, …
-- Returns {'queued', now, id, 'new' or 'same', id, …} in their order, or for all of them
-- {'conflict', id}, {'queue_full', number} or {'quota_exceeded', number}.
local tenant, priority = ARGV[2], ARGV[3]
local jobs, at, num_new = {}, 7, 0
while ARGV[at] do
  local job = {id = ARGV[at], cost = tonumber(ARGV[at + 1]), idempotency = ARGV[at + 2],
               payload = ARGV[at + 3], ttl = ARGV[at + 4], document = ARGV[at + 5],
               deadline_s = ARGV[at + 6], first = at + 8, last = at + 7 + ARGV[at + 7]}
  if job.idempotency ~= '' then
    local before = redis.call('HMGET', key('idempotency', tenant, job.idempotency), 'id', 'payload')
    -- A key counts as long as its record is there.
    if before[1] and redis.call('EXISTS', key('job', before[1])) == 1 then
      if before[2] ~= job.payload then return {'conflict', before[1]} end
      job.same = before[1]
    end
  end
  if not job.same and redis.call('EXISTS', key('job', job.id)) == 1 then job.same = job.id end
  if not job.same then num_new = num_new + 1 end
  table.insert(jobs, job)
  at = job.last + 1
end

local active, own = key('active'), key('active', tenant)
if num_new > 0 then
  local num_active, num_own = redis.call('ZCARD', active), redis.call('ZCARD', own)
  if num_own + num_new > tonumber(ARGV[5]) then
    -- Before it refuses: the oldest may be records that were lost with their server's disk.
    for _, id in ipairs(redis.call('ZRANGE', own, 0, 99)) do
      if unfinished(redis.call('HGET', key('job', id), 'status')) then break end
      redis.call('ZREM', own, id)
    end
    num_own = redis.call('ZCARD', own)
  end
  if num_active + num_new > tonumber(ARGV[4]) then return {'queue_full', tostring(num_active)} end
  if num_own + num_new > tonumber(ARGV[5]) then return {'quota_exceeded', tostring(num_own)} end
end

local reply = {'queued', tostring(now)}
local pending, ring, line = key('pending', priority, tenant), key('ring', priority), read_line()
for _, job in ipairs(jobs) do
  table.insert(reply, job.same or job.id)
  table.insert(reply, job.same and 'same' or 'new')
  if not job.same then
    local record = key('job', job.id)
    local _, ahead = line_before(line, tonumber(priority), tenant, redis.call('LLEN', pending))
    local _, p90_s, predicted_s = estimate(job.cost, ahead)
    redis.call('HSET', record, 'status', 'queued', 'created_at', now, 'queued_at', now,
               'tenant', tenant, 'priority', priority, 'cost', job.cost, 'ttl_s', job.ttl,
               'document_digest', job.document, 'ahead', ahead, 'predicted_s', predicted_s,
               unpack(ARGV, job.first, job.last))
    if p90_s then redis.call('HSET', record, 'p90_s', p90_s) end
    if job.deadline_s ~= '' then redis.call('HSET', record, 'deadline_at', now + job.deadline_s) end
    if job.idempotency ~= '' then
      local name = key('idempotency', tenant, job.idempotency)
      redis.call('HSET', name, 'id', job.id, 'payload', job.payload)
      redis.call('EXPIRE', name, LONGEST)
      redis.call('HSET', record, 'idempotency', job.idempotency)
    end
    redis.call('ZADD', active, now, job.id)
    redis.call('ZADD', own, now, job.id)
    redis.call('INCRBYFLOAT', key('backlog'), job.cost)
    keep_document(job.document, job.id)
    redis.call('RPUSH', pending, job.id)
    note(job.id, 'queued')
    line_grew(line, tonumber(priority), tenant, job.cost)
  end
end
if num_new > 0 then
  redis.call('EXPIRE', key('backlog'), LONGEST)
  if not redis.call('LPOS', ring, tenant) then redis.call('RPUSH', ring, tenant) end
  for _, name in ipairs({own, pending, ring}) do redis.call('PERSIST', name) end  -- of old versions
  dispatch(tonumber(ARGV[6]))
end
return reply
