-- Returns what a log is now (see look.lua), its state, and its pages after a position: now, state, id,
-- frames, id, frames, …
-- Returns nothing if there is no such log.
--
-- KEYS[1]  the prefix of all keys of the namespace
-- ARGV[1]  the log's id
-- ARGV[2]  the epoch of the position
-- ARGV[3]  the first seq that is wanted
-- ARGV[4]  how many bytes are wanted; the last page may exceed them

local now = redis.call('GET', KEYS[1] .. 'now:' .. ARGV[1])
if not now then return false end
local found = {now, redis.call('HGET', KEYS[1] .. 'log:' .. ARGV[1], 's')}
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
