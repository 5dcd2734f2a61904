-- Announce a recipe and forget the silent ones.
-- KEYS[1] recipes (sorted set, score: last announced, server's seconds)
-- ARGV[1] seconds after which a recipe is forgotten  ARGV[2] recipe to announce
-- Returns 1.
local now = tonumber(redis.call('TIME')[1])
redis.call('ZREMRANGEBYSCORE', KEYS[1], '-inf', now - ARGV[1])
redis.call('ZADD', KEYS[1], now, ARGV[2])
redis.call('EXPIRE', KEYS[1], ARGV[1])
return 1
