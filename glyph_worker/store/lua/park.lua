-- Create the records of a job's parts and let it wait for their end, in one step: whoever dies before
-- it leaves the job as it was, and after it nothing is to be done for the job. A part that is there
-- already, of an earlier try, is not created again. Parts take part in their tenant's turns, before
-- its other pending jobs: what began is ended first. They count for no quota; they were let in as
-- one job.
-- ARGV[2] id  [3] attempt  [4] owner  [5] window  [6] number of fields for the job's own record,
-- field, value, …, then for each part: id, cost, document digest, number of fields, field, value, …
-- Returns 1 parked, 2 a cancel is asked, 0 fenced off or final, -1 no record.
local id, record = ARGV[2], key('job', ARGV[2])
local seen = redis.call('HMGET', record, 'status', 'attempt', 'owner', 'cancel_requested', 'tenant',
                        'priority', 'ttl_s', 'deadline_at', 'traceparent', 'cost')
if not seen[1] then return -1 end
if seen[1] ~= 'running' or seen[2] ~= ARGV[3] or seen[3] ~= ARGV[4] then return 0 end
if seen[4] == '1' then return 2 end
local tenant, priority = seen[5], seen[6]
local pending, ring, parts = key('pending', priority, tenant), key('ring', priority), key('parts', id)
local at = 7 + ARGV[6]
local new, line = {}, read_line()
while ARGV[at] do
  local part, last = ARGV[at], at + 3 + ARGV[at + 3]
  local its = redis.call('HGET', key('job', part), 'status')
  if not its then
    local name, cost = key('job', part), tonumber(ARGV[at + 1])
    local _, ahead = line_before(line, tonumber(priority), tenant, #new)
    redis.call('HSET', name, 'status', 'queued', 'created_at', now, 'queued_at', now, 'tenant', tenant,
               'priority', priority, 'cost', cost, 'ttl_s', seen[7], 'document_digest', ARGV[at + 2],
               'ahead', ahead, 'predicted_s', predict(cost, ahead), 'parent', id,
               unpack(ARGV, at + 4, last))
    if seen[8] then redis.call('HSET', name, 'deadline_at', seen[8]) end
    if seen[9] then redis.call('HSET', name, 'traceparent', seen[9]) end
    redis.call('ZADD', key('active'), now, part)
    redis.call('INCRBYFLOAT', key('backlog'), cost)
    keep_document(ARGV[at + 2], part)
    note(part, 'queued')
    line_grew(line, tonumber(priority), tenant, cost)
    table.insert(new, part)
  end
  if not its or unfinished(its) then redis.call('SADD', parts, part) end
  at = last + 1
end
redis.call('EXPIRE', parts, LONGEST)
for n = #new, 1, -1 do redis.call('LPUSH', pending, new[n]) end
if #new > 0 and not redis.call('LPOS', ring, tenant) then redis.call('RPUSH', ring, tenant) end
-- Its cost is theirs from now on.
local cost = tonumber(seen[10] or '1')
if cost > QUANTUM then redis.call('INCRBYFLOAT', key('backlog'), QUANTUM - cost) end
-- An orderly end of a try: whatever went wrong before was not this job's doing.
redis.call('HSET', record, 'cost', math.min(cost, QUANTUM), 'owner', '', 'lease_until', '0',
           'parked', '1', 'admitted', '0', 'strikes', '0', unpack(ARGV, 7, 6 + ARGV[6]))
redis.call('HSETNX', record, 'parked_at', now)
note(id, 'parked', ARGV[3], ARGV[4])
if redis.call('EXISTS', parts) == 0 then resume(id) end
dispatch(tonumber(ARGV[5]))
return 1
