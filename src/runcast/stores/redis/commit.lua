-- Applies changes of several logs in one step. Each is applied only if its log is still as it was
-- when the change was planned: every change of a log gives it a new version, a number that no other
-- change in this namespace ever gets.
--
-- KEYS[1]  the prefix of all keys of the namespace
-- ARGV[1]  who makes the changes: listeners skip their own
-- ARGV[2]  the time by which leases end, seconds; "" for this server's own
-- ARGV[3]  how many changed logs are remembered
-- ARGV[4]  the changes, first plain ones, as words without anything between them
-- ARGV[5]  the lengths of the words, as a MessagePack array
-- ARGV[6]  how many words belong to plain changes
--
-- A plain change appends a page to an open log, as nearly all do. Its six words: the log's id, the
-- version that was seen, the epoch, the id of the stream's entry, its frames, and what has changed
-- since the log's state was written.
--
-- The words of any other change:
--          the log's id, the version that was seen; "0" if there was no such log
--          "1" if the log exists afterwards
--          "1" if lists must learn of the change
--          the log's last description, if it is deleted; else ""
--          what listeners are told; else ""
--          an owner whose lease must be over; else ""
--          the number of commands; 0 if the log is only compared
--          for each command: how many words follow; its name, its key without the prefix, arguments
--
-- Returns for each change, first for those that only append, the log's new version; 0 if nothing was
-- to be changed; -1 if the log was not as it was seen; -2 if the owner's lease holds.

local prefix = KEYS[1]
local call, logs, events = redis.call, prefix .. 'log:', prefix .. 'events:'
local told, results = {}, {}

-- A node that listens alone needs no news of its own changes. Its connection listens to a channel of
-- its own, too, so the only listener cannot be another node. Without leave to ask, all is published.
local channel = prefix .. 'feed'
local listening = redis.pcall('PUBSUB', 'NUMSUB', channel, channel .. ':' .. ARGV[1])
local is_heard = listening.err or tonumber(listening[2]) ~= 1 or tonumber(listening[4]) ~= 1

local function is_leased(owner)
  local ends = redis.call('ZSCORE', prefix .. 'leases', owner)
  if not ends then return false end
  local now = tonumber(ARGV[2])
  if not now then
    local time = redis.call('TIME')
    now = tonumber(time[1]) + tonumber(time[2]) / 1000000
  end
  return tonumber(ends) > now
end

local function note(log_id, number, last_description)
  redis.call('ZADD', prefix .. 'changes', number, log_id)
  if last_description == '' then
    redis.call('HDEL', prefix .. 'gone', log_id)
  else
    redis.call('HSET', prefix .. 'gone', log_id, last_description)
  end
  if redis.call('ZCARD', prefix .. 'changes') > tonumber(ARGV[3]) then
    local oldest = redis.call('ZPOPMIN', prefix .. 'changes')
    redis.call('HDEL', prefix .. 'gone', oldest[1])
    redis.call('SET', prefix .. 'floor', oldest[2])
  end
end

local function pack(part) return struct.pack('>I4', #part) .. part end

local text, lengths, sub = ARGV[4], cmsgpack.unpack(ARGV[5]), string.sub
local words, at = 0, 1

local function word()
  words = words + 1
  local from = at
  at = from + lengths[words]
  return sub(text, from, at - 1)
end

-- The numbers of all plain changes are taken in one step. One that is refused leaves its own unused.
local plain = tonumber(ARGV[6])
local number = plain > 0 and call('INCRBY', prefix .. 'number', plain / 6) - plain / 6 or 0
while words < plain do
  local log_id, seen, epoch, entry, frames, since = word(), word(), word(), word(), word(), word()
  local log, result = logs .. log_id, -1
  number = number + 1
  if call('HGET', log, 'v') == seen then
    result = number
    call('XADD', events .. log_id .. ':' .. epoch, entry, 'f', frames)
    call('HSET', log, 'v', number, 'd', since)
    if is_heard then
      local state = call('HGET', log, 's')
      told[#told + 1] = pack('p') .. pack(state) .. pack(since) .. pack(entry) .. pack(frames)
    end
  end
  results[#results + 1] = result
end

while words < #lengths do
  local log_id, seen, is_there, is_noted = word(), word(), word(), word()
  local gone, news, rival, count = word(), word(), word(), tonumber(word())
  local log, result = logs .. log_id, 0
  if (call('HGET', log, 'v') or '0') ~= seen then
    result = -1
  elseif rival ~= '' and is_leased(rival) then
    result = -2
  elseif count > 0 then
    result = call('INCR', prefix .. 'number')
  end
  for _ = 1, count do
    local command = {}
    for index = 1, tonumber(word()) do command[index] = word() end
    if result > 0 then
      command[2] = prefix .. command[2]
      call(unpack(command))
    end
  end
  if result > 0 then
    if is_there == '1' then call('HSET', log, 'v', result) end
    if is_noted == '1' then note(log_id, result, gone) end
    if is_heard and news ~= '' then told[#told + 1] = pack('g') .. pack(news) end
  end
  results[#results + 1] = result
end

if #told > 0 then redis.call('PUBLISH', channel, ARGV[1] .. table.concat(told)) end
return results
