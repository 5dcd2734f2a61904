-- How a job, or one that is not yet submitted, stands in line.
-- ARGV[2] id or ''; without an id  [3] cost  [4] priority  [5] tenant
-- Returns {jobs before it, seconds to the end of half of such jobs, and of nine of ten}, or only the
-- first while too few jobs have ended to say; -1 jobs for one that is not waiting.
local function told(before, cost, ahead, passed_s)
  local p50_s, p90_s = estimate(cost, ahead)
  if not p50_s then return {tostring(before)} end
  -- Never less than a tenth: a job that is late has an end to come all the same.
  local least = math.max(0.1, 1 - passed_s / p90_s)
  return {tostring(before), tostring(math.max(p50_s - passed_s, least * p50_s)),
          tostring(least * p90_s)}
end

if ARGV[2] == '' then
  local at = redis.call('LLEN', key('pending', ARGV[4], ARGV[5]))
  local before, ahead = line_before(read_line(), tonumber(ARGV[4]), ARGV[5], at)
  return told(before, tonumber(ARGV[3]), ahead, 0)
end
local seen = redis.call('HMGET', key('job', ARGV[2]), 'status', 'priority', 'tenant', 'cost',
                        'dispatched', 'started_at', 'created_at', 'ahead', 'parked_at',
                        'num_segments', 'num_segments_done')
if seen[1] ~= 'queued' and seen[1] ~= 'running' then return {'-1'} end
if seen[9] then
  -- In segments: as fast as so far.
  local num, done = tonumber(seen[10] or '0'), tonumber(seen[11] or '0')
  if done == 0 then return {'-1'} end
  local left_s = math.max(0.1, (now - seen[9]) * math.max(0, num - done) / done)
  return {'-1', tostring(left_s), tostring(2 * left_s)}
end
local cost = tonumber(seen[4] or '1')
if seen[6] then
  return told(seen[1] == 'queued' and 0 or -1, cost, 0, now - tonumber(seen[6]))
elseif seen[5] then
  -- Published: behind messages and runs only, as it was told at its submit.
  local before = math.min(redis.call('ZRANK', key('active'), ARGV[2]) or 0, num_messages())
  return told(before, cost, tonumber(seen[8] or '0'), now - tonumber(seen[7]))
end
local at = redis.call('LPOS', key('pending', seen[2], seen[3]), ARGV[2]) or 0
local before, ahead = line_before(read_line(), tonumber(seen[2]), seen[3], at)
return told(before, cost, ahead, 0)
