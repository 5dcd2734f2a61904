-- Append what an answer grew by, once, however often it is sent.
-- ARGV[2] id  [3] attempt  [4] owner  [5] bytes of the attempt's text before it  [6] text
-- Returns the bytes of the attempt's text that the stream holds, fewer than ARGV[5] where the server
-- has lost some; -1 when this owner does not hold the job in this attempt: two whose claims are of
-- one number, as after a server that lost its last second, must not write in turn.
local record = redis.call('HMGET', key('job', ARGV[2]), 'status', 'attempt', 'owner')
if record[1] ~= 'running' or record[2] ~= ARGV[3] or record[3] ~= ARGV[4] then return -1 end
local name, start, text, held = key('stream', ARGV[2]), tonumber(ARGV[5]), ARGV[6], 0
local last = redis.call('XREVRANGE', name, '+', '-', 'COUNT', 1)[1]
if last then
  local seen = {}
  for n = 1, #last[2], 2 do seen[last[2][n]] = last[2][n + 1] end
  local attempt = tonumber(seen.attempt or '0')
  if attempt == tonumber(ARGV[3]) then held = tonumber(seen['end'] or '0') end
end
if held < start or held >= start + #text then return held end
redis.call('XADD', name, 'MAXLEN', '~', 20000, '*', 'text', string.sub(text, held - start + 1),
           'attempt', ARGV[3], 'end', start + #text)
redis.call('EXPIRE', name, TTL)
return start + #text
