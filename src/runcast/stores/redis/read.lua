-- Returns a log's state, what has changed since, and its pages after a position: state, since, id,
-- frames, id, frames, …
-- Returns nothing if there is no such log.
--
-- KEYS[1]  the prefix of all keys of the namespace
-- ARGV[1]  the log's id
-- ARGV[2]  the epoch of the position
-- ARGV[3]  the first seq that is wanted
-- ARGV[4]  how many bytes are wanted; the last page may exceed them

local log = KEYS[1] .. 'log:' .. ARGV[1]
local found = redis.call('HMGET', log, 's', 'd')
if not found[1] then return false end
local stream = KEYS[1] .. 'events:' .. ARGV[1] .. ':' .. ARGV[2]
local from, wanted, size, count = ARGV[3] .. '-0', tonumber(ARGV[4]), 0, 8
while true do
  local entries = redis.call('XRANGE', stream, from, '+', 'COUNT', count)
  for _, entry in ipairs(entries) do
    found[#found + 1] = entry[1]
    found[#found + 1] = entry[2][2]
    size = size + #entry[2][2]
  end
  if #entries < count or size >= wanted then return found end
  from = '(' .. entries[#entries][1]
  -- As many pages as may still be wanted, by the size of those so far.
  count = math.min(512, math.ceil((wanted - size) * (#found - 2) / 2 / size) + 1)
end
