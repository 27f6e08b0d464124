-- Returns of logs of an index, newest first, what each is now (see look.lua) and its state; nothing in
-- the place of both for a log that is not there.
--
-- KEYS[1]  the prefix of all keys of the namespace
-- ARGV[1]  the index
-- ARGV[2]  the latest time of creation that is wanted
-- ARGV[3]  how many logs to leave out
-- ARGV[4]  how many are wanted

local found = redis.call('ZREVRANGEBYSCORE', KEYS[1] .. ARGV[1], ARGV[2], '-inf',
  'LIMIT', ARGV[3], ARGV[4])
for index, log_id in ipairs(found) do
  found[index] = {redis.call('GET', KEYS[1] .. 'now:' .. log_id),
    redis.call('HGET', KEYS[1] .. 'log:' .. log_id, 's')}
end
return found
