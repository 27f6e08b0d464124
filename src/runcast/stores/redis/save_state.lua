-- Keeps a state of a log, if the log is in the state's epoch. Returns the log's state, and what
-- has changed since.
--
-- KEYS[1]  the prefix of all keys of the namespace
-- ARGV[1]  the log's id
-- ARGV[2]  the epoch
-- ARGV[3]  what is to be kept

local log = KEYS[1] .. 'log:' .. ARGV[1]
if redis.call('HGET', log, 'p') == ARGV[2] then redis.call('HSET', log, 'e', ARGV[3]) end
return redis.call('HMGET', log, 's', 'd')
