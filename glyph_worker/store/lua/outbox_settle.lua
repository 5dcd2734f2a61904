-- End one entry of an outbox, or put it off.
-- ARGV[2] tenant  [3] application  [4] id  [5] seconds until the next try, '' when it was told
-- Returns 1.
local outbox = key('outbox', ARGV[2], ARGV[3])
if ARGV[5] == '' then
  redis.call('ZREM', outbox, ARGV[4])
else
  redis.call('ZADD', outbox, 'XX', now + ARGV[5], ARGV[4])
end
return 1
