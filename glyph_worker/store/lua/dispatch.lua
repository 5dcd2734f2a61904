-- Which pending jobs to publish now. ARGV[2] window. Returns their ids.
return dispatch(tonumber(ARGV[2]))
