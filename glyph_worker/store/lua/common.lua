-- Put in front of every job script. KEYS[1] is the key prefix with its colon; ARGV starts with the
-- time to live of records. All names are built here (store/keys.py lists them); the transport has
-- no Redis Cluster, so keys need not be declared one by one.
local P, TTL = KEYS[1], tonumber(ARGV[1])
local time = redis.call('TIME')
local now = time[1] + time[2] / 1e6
-- Queues and tasks. On the broker a queue's list carries the prefix, as all of kombu's keys do.
local RENDER, ANSWER = 'glyph.render', 'glyph.answer'
local HISTORY = 20000
local LONGEST = 2592000  -- seconds: what may be forgotten of a job that ended in no orderly way
local QUANTUM = 0.25  -- device seconds: a newcomer waits for so much of each tenant before it

local function key(...) return P .. table.concat({...}, ':') end

local function note(id, what, attempt, owner)
  redis.call('XADD', key('events'), 'MAXLEN', '~', HISTORY, '*', 'id', id, 'event', what,
             'attempt', attempt or '', 'owner', owner or '')
  redis.call('EXPIRE', key('events'), 604800)
end

-- Base64 of msgpack [[], {}, {callbacks, errbacks, chain, chord}]: a job's message has no arguments.
local BODY = 'k5CAhKljYWxsYmFja3PAqGVycmJhY2tzwKVjaGFpbsClY2hvcmTA'

-- Put a job's message on a queue in the same step that changes its record, so that neither can be
-- there without the other. The text is what celery (its protocol 2) and kombu's Redis transport
-- would write for a task of the queue's name; a contract test compares the two.
local function publish(queue, id)
  local null = cjson.null
  redis.call('LPUSH', P .. queue, cjson.encode({
    body = BODY, ['content-type'] = 'application/x-msgpack', ['content-encoding'] = 'binary',
    headers = {
      lang = 'py', task = queue, id = id, root_id = id, parent_id = null, group = null,
      group_index = null, shadow = null, eta = null, expires = null, retries = 0,
      timelimit = {null, null}, argsrepr = '()', kwargsrepr = '{}', origin = 'glyph_worker',
      ignore_result = true, replaced_task_nesting = 0, stamped_headers = null, stamps = {},
    },
    properties = {
      correlation_id = id, reply_to = '', delivery_mode = 2, priority = 0, body_encoding = 'base64',
      delivery_info = {exchange = '', routing_key = queue},
      delivery_tag = table.concat({id, time[1], time[2]}, ':'),  -- unlike any other's
    },
  }))
end

local function num_messages()
  return redis.call('LLEN', P .. RENDER) + redis.call('LLEN', P .. ANSWER)
end

local function unfinished(status) return status == 'queued' or status == 'running' end

-- Who waits: jobs that are not final, their cost, and the pending ones by priority and tenant, with
-- the sum and the longest of a priority.
local function read_line()
  local line = {active = redis.call('ZCARD', key('active')), pending = 0,
                waiting = {}, total = {}, longest = {},
                backlog = tonumber(redis.call('GET', key('backlog')) or '0')}
  for priority = 0, 1 do
    local waiting, total, longest = {}, 0, 0
    for _, tenant in ipairs(redis.call('LRANGE', key('ring', priority), 0, -1)) do
      local count = redis.call('LLEN', key('pending', priority, tenant))
      waiting[tenant], total, longest = count, total + count, math.max(longest, count)
    end
    line.waiting[priority], line.total[priority], line.longest[priority] = waiting, total, longest
    line.pending = line.pending + total
  end
  return line
end

local function line_grew(line, priority, tenant, cost)
  local count = (line.waiting[priority][tenant] or 0) + 1
  line.active, line.pending, line.backlog = line.active + 1, line.pending + 1, line.backlog + cost
  line.waiting[priority][tenant], line.total[priority] = count, line.total[priority] + 1
  line.longest[priority] = math.max(line.longest[priority], count)
end

-- Jobs that will start before one of this tenant and priority with `at` of its own before it, and
-- what they cost. Published and running ones, those of a higher priority, and one turn for each turn.
local function line_before(line, priority, tenant, at)
  local waiting = line.waiting[priority]
  local before = math.max(0, line.active - line.pending) + (waiting[tenant] and at or 0)
  for other = 0, priority - 1 do before = before + line.total[other] end
  if at + 1 >= line.longest[priority] then  -- whoever waits has its turn before
    before = before + line.total[priority] - (waiting[tenant] or 0)
  else
    for name, count in pairs(waiting) do
      if name ~= tenant then before = before + math.min(at + 1, count) end
    end
  end
  return before, before * line.backlog / math.max(1, line.active)
end

-- Estimates: seconds = own × cost + line × cost ahead. Both factors are fitted to the jobs that have
-- ended, by least squares of the relative error; these are its five sums. Old jobs fade.
local SUMS, FADE = {'cc', 'ca', 'aa', 'ct', 'at'}, 0.97

local function learn(cost, ahead, took_s)
  local sums, weight = redis.call('HMGET', key('pace'), unpack(SUMS)), 1 / math.max(took_s, 0.001) ^ 2
  local fresh = {cost * cost, cost * ahead, ahead * ahead, cost * took_s, ahead * took_s}
  local row = {}
  for n, name in ipairs(SUMS) do
    table.insert(row, name)
    table.insert(row, FADE * (tonumber(sums[n] or '') or 0) + weight * fresh[n])
  end
  redis.call('HSET', key('pace'), unpack(row))
  redis.call('EXPIRE', key('pace'), 604800)
end

-- Seconds until a job of this cost would end, before calibration; 0 while nothing is known.
local function predict(cost, ahead)
  local sums = redis.call('HMGET', key('pace'), unpack(SUMS))
  if not sums[1] then return 0 end
  for n = 1, 5 do sums[n] = tonumber(sums[n]) end
  local cc, ca, aa, ct, at = unpack(sums)
  local own, line = (ct + at) / (cc + 2 * ca + aa), 0
  line = own  -- as long as what was seen cannot tell the two apart
  local det = cc * aa - ca * ca
  if det > 0.001 * cc * aa then
    own, line = (ct * aa - at * ca) / det, (cc * at - ca * ct) / det
    if own < 0 then own, line = 0, at / aa elseif line < 0 then own, line = ct / cc, 0 end
  end
  return own * cost + line * ahead
end

-- Calibration: quantiles of what the last estimates were off by, each with a stretch of its own that
-- grows with a job that ends after it and shrinks with one that does not, so that half, and nine of
-- ten, stay within them when the load changes as well (adaptive conformal inference, Gibbs and
-- Candès 2021).
local SAMPLES, MIN_SAMPLES, STEP, MAX_STRETCH = 100, 20, 0.1, 4

-- Ratios of seen to predicted seconds that half, and nine of ten, stay within; nil while too few
-- have ended to say.
local function quantiles()
  local ratios = redis.call('LRANGE', key('ratios'), 0, -1)
  if #ratios < MIN_SAMPLES then return nil end
  for n, ratio in ipairs(ratios) do ratios[n] = tonumber(ratio) end
  table.sort(ratios)
  local stretch = redis.call('HMGET', key('pace'), 'stretch50', 'stretch90')
  local half = ratios[math.ceil(0.5 * #ratios)] * (tonumber(stretch[1] or '') or 1)
  local most = ratios[math.min(#ratios, math.ceil(0.9 * (#ratios + 1)))]
               * (tonumber(stretch[2] or '') or 1)
  return half, math.max(half, most)
end

-- Seconds that half, and nine of ten, of such jobs need, or nil; and the prediction behind them.
local function estimate(cost, ahead)
  local predicted_s, half, most = predict(cost, ahead), quantiles()
  if predicted_s <= 0 or not half then return nil, nil, predicted_s end
  return predicted_s * half, predicted_s * most, predicted_s
end

local function stretch(name, late, share)
  local seen = tonumber(redis.call('HGET', key('pace'), name) or '') or 1
  seen = seen * math.exp(STEP * ((late and 1 or 0) - share))
  redis.call('HSET', key('pace'), name, math.min(MAX_STRETCH, math.max(1 / MAX_STRETCH, seen)))
end

local function calibrate(took_s, predicted_s, p90_s)
  if predicted_s <= 0 then return end
  local half = quantiles()
  -- The half is compared as it is now: told to a whole burst, one error would count for each.
  if half then stretch('stretch50', took_s > predicted_s * half, 0.5) end
  if p90_s then stretch('stretch90', took_s > p90_s, 0.1) end
  redis.call('LPUSH', key('ratios'), took_s / predicted_s)
  redis.call('LTRIM', key('ratios'), 0, SAMPLES - 1)
  redis.call('EXPIRE', key('ratios'), 604800)
end

-- A document has no expiry while a job that is not final needs it: `needed` has a member for each,
-- all of one score, so that those of a document stand beside each other.
local function keep_document(document, id)
  redis.call('ZADD', key('needed'), 0, document .. '/' .. id)
  redis.call('PERSIST', key('blob', document))
end

local function leave_document(document, id, ttl)
  redis.call('ZREM', key('needed'), document .. '/' .. id)
  -- '0' is the character after '/'.
  local others = redis.call('ZRANGEBYLEX', key('needed'), '[' .. document .. '/',
                            '(' .. document .. '0', 'LIMIT', 0, 1)
  local blob = key('blob', document)
  if #others == 0 and redis.call('TTL', blob) < tonumber(ttl) then
    redis.call('EXPIRE', blob, ttl)
  end
end

-- Ended jobs of a tenant by creation, for listings; as many as are worth paging through.
local LISTED = 20000

local function list_ended(id, tenant, created_at)
  local ended = key('ended', tenant)
  redis.call('ZADD', ended, created_at, id)
  redis.call('ZREMRANGEBYRANK', ended, 0, -LISTED - 1)
  redis.call('EXPIRE', ended, LONGEST)
end

-- Let a job go on whose last part has ended: it is published again, in the attempt that parked it.
local function resume(id)
  redis.call('HSET', key('job', id), 'status', 'queued', 'parked', '0', 'resumed', '1',
             'queued_at', now, 'lease_until', '0', 'owner', '', 'handed_over', '0')
  note(id, 'resumed')
  publish(RENDER, id)
end

-- A job's part has ended.
local function leave_parent(parent, id)
  local parts = key('parts', parent)
  if redis.call('SREM', parts, id) == 0
     or not unfinished(redis.call('HGET', key('job', parent), 'status')) then return end
  redis.call('HINCRBY', key('job', parent), 'num_segments_done', 1)
  if redis.call('EXISTS', parts) == 0 and redis.call('HGET', key('job', parent), 'parked') == '1' then
    resume(parent)
  end
end

-- The one way to a final status. Callers have checked that the job is not final.
local function finish(id, status, ...)
  local record = key('job', id)
  local seen = redis.call('HMGET', record, 'tenant', 'cost', 'ttl_s', 'created_at', 'ahead',
                          'predicted_s', 'webhook', 'attempt', 'owner', 'p90_s',
                          'document_digest', 'idempotency', 'outbox', 'parent', 'num_segments')
  local ttl = tonumber(seen[3]) or TTL
  redis.call('HSET', record, 'status', status, 'finished_at', now, 'stage', '', 'owner', '',
             'lease_until', '0', 'admitted', '0', 'parked', '0', ...)
  redis.call('HINCRBY', record, 'num_commits', 1)  -- never above 1: the chaos checker reads it
  -- Here, and not before, the time to live begins, of all that belongs to the job.
  redis.call('EXPIRE', record, ttl)
  if seen[11] then leave_document(seen[11], id, math.max(ttl, TTL)) end
  if seen[12] then redis.call('EXPIRE', key('idempotency', seen[1], seen[12]), ttl) end
  redis.call('ZREM', key('active'), id)
  redis.call('ZREM', key('active', seen[1] or ''), id)
  if not seen[14] then
    redis.call('HINCRBY', key('totals'), status, 1)
    redis.call('EXPIRE', key('totals'), LONGEST)
  end
  note(id, status, seen[8], seen[9])
  redis.call('XADD', key('stream', id), 'MAXLEN', '~', 20000, '*', 'status', status,
             'attempt', seen[8] or '0')
  redis.call('EXPIRE', key('stream', id), ttl)
  if seen[7] and seen[7] ~= '' then
    redis.call('ZADD', key('webhooks'), now, id)
    -- Where no gateway calls them, those whose record must be gone go too.
    redis.call('ZREMRANGEBYSCORE', key('webhooks'), '-inf', now - LONGEST)
    redis.call('EXPIRE', key('webhooks'), LONGEST)
  end
  if seen[13] then
    local outbox = key('outbox', seen[1] or '', seen[13])
    redis.call('ZADD', outbox, now, id)
    redis.call('ZREMRANGEBYSCORE', outbox, '-inf', now - LONGEST)  -- where nobody reads it
    redis.call('EXPIRE', outbox, LONGEST)
  end
  if not seen[14] then list_ended(id, seen[1] or '', tonumber(seen[4]) or now) end
  local cost = tonumber(seen[2] or '1')
  if redis.call('INCRBYFLOAT', key('backlog'), -cost) + 0 < 0
     or redis.call('ZCARD', key('active')) == 0 then
    redis.call('SET', key('backlog'), 0)
  end
  redis.call('EXPIRE', key('backlog'), LONGEST)
  local segmented = tonumber(seen[15] or '0') > 0
  if status == 'succeeded' and not segmented then  -- else it took what its segments took
    local took_s = now - tonumber(seen[4])
    calibrate(took_s, tonumber(seen[6] or '') or 0, tonumber(seen[10] or ''))
    learn(cost, tonumber(seen[5] or '') or 0, took_s)
  end
  if segmented then
    -- What is still asked for its sake goes with it: at once, or at its next step.
    local parts = redis.call('SMEMBERS', key('parts', id))
    redis.call('DEL', key('parts', id))
    for _, part in ipairs(parts) do
      local its = redis.call('HGET', key('job', part), 'status')
      if its == 'queued' then
        finish(part, 'cancelled')
      elseif its == 'running' then
        redis.call('HSET', key('job', part), 'cancel_requested', '1')
        redis.call('PUBLISH', key('cancels'), part)
      end
    end
  end
  if seen[14] then leave_parent(seen[14], id) end
end

-- One pending job by deficit round robin over tenants, in cost (estimated device seconds).
local function take(priority)
  local ring, deficits = key('ring', priority), key('deficit', priority)
  local turns = 0
  while true do
    local tenant = redis.call('LINDEX', ring, 0)
    if not tenant then return nil end
    local pending = key('pending', priority, tenant)
    local id = redis.call('LINDEX', pending, 0)
    if not id then
      redis.call('LPOP', ring)
      redis.call('HDEL', deficits, tenant)
    else
      local record = redis.call('HMGET', key('job', id), 'status', 'cost')
      if record[1] ~= 'queued' then
        redis.call('LPOP', pending)  -- cancelled or expired while it waited
      else
        local cost = tonumber(record[2] or '1')
        local have = tonumber(redis.call('HGET', deficits, tenant) or '0')
        turns = turns + 1
        if have >= cost or redis.call('LLEN', ring) == 1 or turns > 1000 then
          redis.call('LPOP', pending)
          if redis.call('EXISTS', pending) == 0 then
            redis.call('LPOP', ring)  -- neither key has an expiry: nothing is left behind
            redis.call('HDEL', deficits, tenant)
          else
            redis.call('HSET', deficits, tenant, math.max(0, have - cost))
            redis.call('EXPIRE', deficits, TTL)
          end
          return id
        end
        redis.call('HSET', deficits, tenant, have + QUANTUM)
        redis.call('EXPIRE', deficits, TTL)
        redis.call('LMOVE', ring, ring, 'LEFT', 'RIGHT')
      end
    end
  end
end

-- Publish jobs at their turn, so that no more than `window` messages wait on the queues; returns how
-- many. The fewer wait there, first come first served, the sooner a newcomer has its turn.
local function dispatch(window)
  local count, room = 0, window - num_messages()
  while count < room do
    -- Interactive first, but one turn in eight is for bulk, so that it moves at all.
    local turn = redis.call('INCR', key('turn'))
    local first = (turn % 8 == 0) and 1 or 0
    local id = take(first) or take(1 - first)
    if not id then break end
    redis.call('HSET', key('job', id), 'dispatched', '1', 'queued_at', now)
    publish(RENDER, id)
    count = count + 1
  end
  redis.call('EXPIRE', key('turn'), TTL)
  return count
end
