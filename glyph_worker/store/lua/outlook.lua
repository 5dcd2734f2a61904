-- How a job, or one of this cost that is not yet submitted, stands in line.
-- ARGV[2] id or ''  [3] cost of a job without id
-- Returns {jobs before it, seconds until its end before calibration, ratios seen to predicted…};
-- -1 jobs for one that is not waiting.
local ratios = redis.call('LRANGE', key('ratios'), 0, -1)
local backlog = tonumber(redis.call('GET', key('backlog')) or '0')
if ARGV[2] == '' then
  return {tostring(redis.call('ZCARD', key('active'))), tostring(predict(tonumber(ARGV[3]), backlog)),
          unpack(ratios)}
end
local seen = redis.call('HMGET', key('job', ARGV[2]), 'status', 'priority', 'tenant', 'cost',
                        'dispatched', 'started_at', 'predicted_s', 'created_at')
if seen[1] ~= 'queued' and seen[1] ~= 'running' then return {'-1', '0'} end
local before, ahead, cost = 0, 0, tonumber(seen[4] or '1')
if seen[1] == 'queued' and not seen[5] then
  local at = redis.call('LPOS', key('pending', seen[2], seen[3]), ARGV[2]) or 0
  local num_active = math.max(1, redis.call('ZCARD', key('active')))
  before = math.max(0, num_active - num_pending())  -- those published or running
  for priority = 0, tonumber(seen[2]) do
    for _, tenant in ipairs(redis.call('LRANGE', key('ring', priority), 0, -1)) do
      local waiting = redis.call('LLEN', key('pending', priority, tenant))
      if priority < tonumber(seen[2]) then before = before + waiting
      elseif tenant == seen[3] then before = before + at
      else before = before + math.min(at + 1, waiting) end
    end
  end
  ahead = before * backlog / num_active
end
local left = predict(cost, ahead)
-- Once it runs, what was predicted and has passed counts.
if seen[6] then left = math.max(0.1 * left, left - (now - tonumber(seen[6]))) end
return {tostring(seen[1] == 'queued' and before or -1), tostring(left), unpack(ratios)}
