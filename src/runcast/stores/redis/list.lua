-- Returns the states of logs of an index, newest first, each with what has changed since; nothing in
-- place of both for a log that is not there.
--
-- KEYS[1]  the prefix of all keys of the namespace
-- ARGV[1]  the index
-- ARGV[2]  the latest time of creation that is wanted
-- ARGV[3]  how many logs to leave out
-- ARGV[4]  how many are wanted

local found = redis.call('ZREVRANGEBYSCORE', KEYS[1] .. ARGV[1], ARGV[2], '-inf',
  'LIMIT', ARGV[3], ARGV[4])
for index, log_id in ipairs(found) do
  found[index] = redis.call('HMGET', KEYS[1] .. 'log:' .. log_id, 's', 'd')
end
return found
