-- Returns the ids of open logs whose owner has no valid lease.
--
-- KEYS[1]  the prefix of all keys of the namespace
-- ARGV[1]  the time by which leases end, seconds; "" for this server's own
-- ARGV[2]  how many logs are wanted

local now = tonumber(ARGV[1])
if not now then
  local time = redis.call('TIME')
  now = tonumber(time[1]) + tonumber(time[2]) / 1000000
end

local found, wanted = {}, tonumber(ARGV[2])
for _, owner in ipairs(redis.call('SMEMBERS', KEYS[1] .. 'owners')) do
  local ends = redis.call('ZSCORE', KEYS[1] .. 'leases', owner)
  if not ends or tonumber(ends) <= now then
    local owned = redis.call('SMEMBERS', KEYS[1] .. 'owned:' .. owner)
    if #owned == 0 then redis.call('SREM', KEYS[1] .. 'owners', owner) end
    for _, log_id in ipairs(owned) do
      if #found < wanted then found[#found + 1] = log_id end
    end
  end
end
return found
