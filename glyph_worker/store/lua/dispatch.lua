-- Publish the jobs whose turn it is. ARGV[2] window. Returns how many.
return dispatch(tonumber(ARGV[2]))
