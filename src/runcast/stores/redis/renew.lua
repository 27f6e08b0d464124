-- Holds a lease for some seconds from now; 0 ends the lease.
--
-- KEYS[1]  the prefix of all keys of the namespace
-- ARGV[1]  the owner
-- ARGV[2]  seconds
-- ARGV[3]  the time by which leases end, seconds; "" for this server's own

local leases, seconds, now = KEYS[1] .. 'leases', tonumber(ARGV[2]), tonumber(ARGV[3])
if not now then
  local time = redis.call('TIME')
  now = tonumber(time[1]) + tonumber(time[2]) / 1000000
end
if seconds > 0 then
  redis.call('ZADD', leases, now + seconds, ARGV[1])
else
  redis.call('ZREM', leases, ARGV[1])
end
-- Leases that ended a day ago belong to processes that nobody asks about any more.
redis.call('ZREMRANGEBYSCORE', leases, '-inf', now - 86400)
