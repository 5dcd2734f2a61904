-- Keep or give up claims that are still ours.
-- KEYS[i] claim
-- ARGV[1] lease milliseconds, 0 gives them up  ARGV[i + 1] token
-- Returns for each 1 when it was ours, else 0.
local replies = {}
for i = 1, #KEYS do
  local ours = redis.call('GET', KEYS[i]) == ARGV[i + 1]
  if ours and ARGV[1] == '0' then
    redis.call('DEL', KEYS[i])
  elseif ours then
    redis.call('PEXPIRE', KEYS[i], ARGV[1])
  end
  replies[i] = ours and 1 or 0
end
return replies
