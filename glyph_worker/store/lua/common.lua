-- Put in front of every job script. KEYS[1] is the key prefix with its colon; ARGV starts with the
-- time to live of records. All names are built here (store/keys.py lists them); the transport has
-- no Redis Cluster, so keys need not be declared one by one.
local P, TTL = KEYS[1], tonumber(ARGV[1])
local time = redis.call('TIME')
local now = time[1] + time[2] / 1e6
local RENDER, ANSWER = 'glyph.render', 'glyph.answer'
local HISTORY, SAMPLES, QUANTUM = 20000, 200, 1.0

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
  redis.call('LPUSH', queue, cjson.encode({
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
  return redis.call('LLEN', RENDER) + redis.call('LLEN', ANSWER)
end

local function num_pending()
  local count = 0
  for priority = 0, 1 do
    for _, tenant in ipairs(redis.call('LRANGE', key('ring', priority), 0, -1)) do
      count = count + redis.call('LLEN', key('pending', priority, tenant))
    end
  end
  return count
end

-- The one way to a final status. Callers have checked that the job is not final.
local function finish(id, status, ...)
  local record = key('job', id)
  local seen = redis.call('HMGET', record, 'tenant', 'cost', 'ttl_s', 'created_at', 'started_at',
                          'predicted_s', 'webhook', 'attempt', 'owner')
  redis.call('HSET', record, 'status', status, 'finished_at', now, 'stage', '', 'owner', '',
             'lease_until', '0', 'admitted', '0', ...)
  redis.call('HINCRBY', record, 'num_commits', 1)  -- never above 1: the chaos checker reads it
  redis.call('EXPIRE', record, tonumber(seen[3]) or TTL)
  redis.call('ZREM', key('active'), id)
  redis.call('ZREM', key('active', seen[1] or ''), id)
  redis.call('HINCRBY', key('totals'), status, 1)
  redis.call('EXPIRE', key('totals'), 2592000)
  note(id, status, seen[8], seen[9])
  redis.call('XADD', key('stream', id), 'MAXLEN', '~', 2000, '*', 'status', status)
  redis.call('EXPIRE', key('stream', id), tonumber(seen[3]) or TTL)
  if seen[7] and seen[7] ~= '' then redis.call('ZADD', key('webhooks'), now, id) end
  local cost = tonumber(seen[2] or '1')
  if redis.call('INCRBYFLOAT', key('backlog'), -cost) + 0 < 0
     or redis.call('ZCARD', key('active')) == 0 then
    redis.call('SET', key('backlog'), 0)
  end
  redis.call('EXPIRE', key('backlog'), 2592000)
  if status == 'succeeded' and seen[5] then
    -- What estimates are made of: seconds per unit of cost, jobs side by side, and how far off
    -- the last estimates were.
    local pace = redis.call('HMGET', key('pace'), 'unit_s', 'parallel')
    local unit_s = (now - tonumber(seen[5])) / cost
    local parallel = math.max(1, redis.call('ZCARD', key('active')) + 1 - num_pending() - num_messages())
    redis.call('HSET', key('pace'),
               'unit_s', 0.9 * (tonumber(pace[1] or '') or unit_s) + 0.1 * unit_s,
               'parallel', 0.9 * (tonumber(pace[2] or '') or parallel) + 0.1 * parallel)
    redis.call('EXPIRE', key('pace'), 604800)
    local predicted_s = tonumber(seen[6] or '') or 0
    if predicted_s > 0 then
      redis.call('LPUSH', key('ratios'), (now - tonumber(seen[4])) / predicted_s)
      redis.call('LTRIM', key('ratios'), 0, SAMPLES - 1)
      redis.call('EXPIRE', key('ratios'), 604800)
    end
  end
end

-- Seconds until a job of this cost would end, before calibration; 0 while nothing is known.
local function predict(cost, ahead)
  local pace = redis.call('HMGET', key('pace'), 'unit_s', 'parallel')
  if not pace[1] then return 0 end
  return tonumber(pace[1]) * (cost + ahead / math.max(1, tonumber(pace[2])))
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
          redis.call('HSET', deficits, tenant, math.max(0, have - cost))
          redis.call('EXPIRE', deficits, TTL)
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
