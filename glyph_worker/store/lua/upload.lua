-- Keep a tenant's file, within its quota. Never overwrites one.
-- ARGV[2] tenant  [3] id  [4] packed info  [5] compressed bytes  [6] seconds to live
-- [7] most files, 0: no limit  [8] most bytes
-- Returns {'stored', 0}, or {'files' or 'bytes', what there would be}.
local index, name = key('files', ARGV[2]), key('file', ARGV[2], ARGV[3])
if redis.call('HSTRLEN', name, 'info') > 0 then return {'stored', 0} end
local most, num_files, num_bytes = tonumber(ARGV[7]), 1, #ARGV[5]
if most > 0 then
  for _, id in ipairs(redis.call('ZRANGE', index, 0, -1)) do
    local size = redis.call('HSTRLEN', key('file', ARGV[2], id), 'raw')
    if size == 0 then
      redis.call('ZREM', index, id)  -- expired
    else
      num_files, num_bytes = num_files + 1, num_bytes + size
    end
  end
  if num_files > most then return {'files', num_files} end
  if num_bytes > tonumber(ARGV[8]) then return {'bytes', num_bytes} end
end
redis.call('HSET', name, 'info', ARGV[4], 'raw', ARGV[5])
redis.call('EXPIRE', name, ARGV[6])
redis.call('ZADD', index, now, ARGV[3])
redis.call('EXPIRE', index, LONGEST)
return {'stored', 0}
