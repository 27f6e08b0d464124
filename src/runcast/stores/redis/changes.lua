-- Returns which logs changed after a point: the present point, the point from which changes are
-- known, and the changed logs: id, number, id, number, …
--
-- KEYS[1]  the prefix of all keys of the namespace
-- ARGV[1]  the point
-- ARGV[2]  how many logs are wanted

local function number_of(name) return redis.call('GET', KEYS[1] .. name) or '0' end

local found = {number_of('number'), number_of('floor')}
local changed = redis.call('ZRANGEBYSCORE', KEYS[1] .. 'changes', '(' .. ARGV[1], '+inf',
  'WITHSCORES', 'LIMIT', 0, ARGV[2])
for _, each in ipairs(changed) do found[#found + 1] = each end
return found
