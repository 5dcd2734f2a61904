-- Put a new message for a job on its queue. ARGV[2] id  [3] rendered (1 or 0)
-- Returns 1.
publish(ARGV[3] == '1' and ANSWER or RENDER, ARGV[2])
return 1
