-- Ask for page features: which are stored, and the right to encode those that are not.
-- KEYS[3i-2] feature  KEYS[3i-1] claim  KEYS[3i] quarantine, for each page i
-- ARGV[1] owner (unique per process)  ARGV[2] lease milliseconds  ARGV[3] most claims to grant
-- Returns for each page a state and a token: stored, claimed (the token is the fence), held (by
-- another, whose token it is), free (nobody's, but over the limit), quarantined.
local time = redis.call('TIME')
local fence = string.format('%d%06d', time[1], time[2])
local left = tonumber(ARGV[3])
local replies = {}
for i = 1, #KEYS, 3 do
  local state, token = 'free', ''
  if redis.call('EXISTS', KEYS[i + 2]) == 1 then
    state = 'quarantined'
  elseif redis.call('EXISTS', KEYS[i]) == 1 then
    state = 'stored'
  else
    local holder = redis.call('GET', KEYS[i + 1])
    -- Our own older claim is taken again: its reply was lost, or its features were evicted.
    local ours = holder and string.sub(holder, -#ARGV[1] - 1) == ':' .. ARGV[1]
    if holder and not ours then
      state, token = 'held', holder
    elseif left > 0 then
      left = left - 1
      state, token = 'claimed', fence .. ':' .. i .. ':' .. ARGV[1]
      redis.call('SET', KEYS[i + 1], token, 'PX', ARGV[2])
    end
  end
  replies[#replies + 1] = state
  replies[#replies + 1] = token
end
return replies
