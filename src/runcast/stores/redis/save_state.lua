-- Keeps a state of a log, if the log is in the state's epoch. Returns what the log is now (see
-- look.lua), and its state.
--
-- KEYS[1]  the prefix of all keys of the namespace
-- ARGV[1]  the log's id
-- ARGV[2]  the epoch
-- ARGV[3]  what is to be kept

local log = KEYS[1] .. 'log:' .. ARGV[1]
if redis.call('HGET', log, 'p') == ARGV[2] then redis.call('HSET', log, 'e', ARGV[3]) end
return {redis.call('GET', KEYS[1] .. 'now:' .. ARGV[1]), redis.call('HGET', log, 's')}
