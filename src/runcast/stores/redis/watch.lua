-- Notes of logs that a node watches them, or that it does not.
--
-- KEYS[1]  the prefix of all keys of the namespace
-- ARGV[1]  the node: its origin in commit.lua
-- ARGV[2]  "1" if the node watches them, "0" if not
-- ARGV[3]… the logs' ids; "*" for all logs

local watched, node = KEYS[1] .. 'watched', ARGV[1]
for index = 3, #ARGV do
  local who = redis.call('HGET', watched, ARGV[index]) or ''
  local at = string.find(who, node, 1, true)
  if ARGV[2] == '1' and not at then
    redis.call('HSET', watched, ARGV[index], who .. node)
  elseif ARGV[2] == '0' and at then
    who = string.sub(who, 1, at - 1) .. string.sub(who, at + #node)
    if who == '' then
      redis.call('HDEL', watched, ARGV[index])
    else
      redis.call('HSET', watched, ARGV[index], who)
    end
  end
end
