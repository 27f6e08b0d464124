-- Applies changes of several logs in one step. Each is applied only if its log is still as it was
-- when the change was planned: every change of a log gives it a new version, a number that no other
-- change in this namespace ever gets.
--
-- KEYS[1]  the prefix of all keys of the namespace
-- ARGV[1]  who makes the changes: listeners skip their own
-- ARGV[2]  the time by which leases end, seconds; "" for this server's own
-- ARGV[3]  how many changed logs are remembered
-- ARGV[4]  the changes: words, each behind its length (4 bytes, the most significant first)
--
-- A change that only appends a page to an open log, as nearly all do:
--          "p", the log's id, the version that was seen, the epoch, the id of the stream's entry,
--          its frames, the log's state afterwards
-- Any other change:
--          "g", the log's id, the version that was seen; "0" if there was no such log
--          "1" if the log exists afterwards
--          "1" if lists must learn of the change
--          the log's last description, if it is deleted; else ""
--          what listeners are told; else ""
--          an owner whose lease must be over; else ""
--          the number of commands; 0 if the log is only compared
--          for each command: how many words follow; its name, its key without the prefix, arguments
--
-- Returns for each change the log's new version; 0 if nothing was to be changed; -1 if the log was
-- not as it was seen; -2 if the owner's lease holds.

local prefix = KEYS[1]
local told, results = {}, {}

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

local text, at = ARGV[4], 1

local function word()
  local length = struct.unpack('>I4', text, at)
  local found = string.sub(text, at + 4, at + 3 + length)
  at = at + 4 + length
  return found
end

local function pack(part) return struct.pack('>I4', #part) .. part end

local function is_as_seen(log, seen) return (redis.call('HGET', log, 'v') or '0') == seen end

local function append_page()
  local log_id, seen, epoch, entry, frames, state = word(), word(), word(), word(), word(), word()
  local log = prefix .. 'log:' .. log_id
  if not is_as_seen(log, seen) then return -1 end
  local number = redis.call('INCR', prefix .. 'number')
  redis.call('XADD', prefix .. 'events:' .. log_id .. ':' .. epoch, entry, 'f', frames)
  redis.call('HSET', log, 's', state, 'v', number)
  told[#told + 1] = pack('p') .. pack(state) .. pack(entry) .. pack(frames)
  return number
end

local function change_log()
  local log_id, seen, is_there, is_noted = word(), word(), word(), word()
  local last_description, news, rival, count = word(), word(), word(), tonumber(word())
  local log, result = prefix .. 'log:' .. log_id, 0
  if not is_as_seen(log, seen) then
    result = -1
  elseif rival ~= '' and is_leased(rival) then
    result = -2
  elseif count > 0 then
    result = redis.call('INCR', prefix .. 'number')
  end
  for _ = 1, count do
    local command = {}
    for index = 1, tonumber(word()) do command[index] = word() end
    if result > 0 then
      command[2] = prefix .. command[2]
      redis.call(unpack(command))
    end
  end
  if result > 0 then
    if is_there == '1' then redis.call('HSET', log, 'v', result) end
    if is_noted == '1' then note(log_id, result, last_description) end
    if news ~= '' then told[#told + 1] = pack('g') .. pack(news) end
  end
  return result
end

while at <= #text do
  if word() == 'p' then results[#results + 1] = append_page() else results[#results + 1] = change_log() end
end

if #told > 0 then
  redis.call('PUBLISH', prefix .. 'feed', ARGV[1] .. table.concat(told))
end
return results
