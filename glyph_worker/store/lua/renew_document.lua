-- Let a stored document live at least as long as if it came now. ARGV[2] digest
-- Returns 1, or 0 where there is none.
local blob = key('blob', ARGV[2])
local left_s = redis.call('TTL', blob)
if left_s >= 0 and left_s < TTL then redis.call('EXPIRE', blob, TTL) end
return left_s == -2 and 0 or 1
