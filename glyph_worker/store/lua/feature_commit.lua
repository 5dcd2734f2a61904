-- Publish staged page features and end the claim, unless another took the claim over.
-- KEYS[1] staging  KEYS[2] feature  KEYS[3] claim  KEYS[4] quarantine
-- ARGV[1] token ('' publishes without a claim)
-- Returns stored, fenced (another holds the claim), quarantined, or lost (staging was evicted).
local holder = redis.call('GET', KEYS[3])
if holder and holder ~= ARGV[1] then
  redis.call('UNLINK', KEYS[1])
  return 'fenced'
end
-- Deletes first: they are allowed when memory is full.
if holder then redis.call('DEL', KEYS[3]) end
if redis.call('EXISTS', KEYS[4]) == 1 then
  redis.call('UNLINK', KEYS[1])
  return 'quarantined'
end
if redis.call('EXISTS', KEYS[1]) == 0 then return 'lost' end
redis.call('RENAME', KEYS[1], KEYS[2])
return 'stored'
