-- Returns of each log what it is now (its version, and what plain appends have changed since its state
-- was written), its state, and one more field. Nothing stands in the place of what is not there.
--
-- KEYS[1]  the prefix of all keys of the namespace
-- ARGV[1]  the field
-- ARGV[2]… the logs' ids

local found = {}
for index = 2, #ARGV do
  local kept = redis.call('HMGET', KEYS[1] .. 'log:' .. ARGV[index], 's', ARGV[1])
  found[index - 1] = {redis.call('GET', KEYS[1] .. 'now:' .. ARGV[index]), kept[1], kept[2]}
end
return found
