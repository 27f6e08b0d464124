-- Applies changes of several logs in one step. Each is applied only if its log is still as it was
-- when the change was planned: every change of a log gives it a new version, which no other commit in
-- this namespace ever gets.
--
-- KEYS[1]  the prefix of all keys of the namespace
-- ARGV[1]  who makes the changes: listeners skip their own
-- ARGV[2]  the time by which leases end, seconds; "" for this server's own
-- ARGV[3]  how many changed logs are remembered
-- ARGV[4]  the version of all logs that are changed
-- ARGV[5]  "0" to tell the nodes that watch a log of its plain changes; "2" the same, by channels of the
--          shard, in a cluster; "1" to tell all nodes, in a cluster without such channels
-- ARGV[6]  the number of plain changes, at most 1000: the words of a command lie on Lua's stack
--
-- A plain change appends a page to an open log, as nearly all do. Six words of each follow: first, of
-- all of them, the key `now:<id>` with the prefix, and its value afterwards; then, of all of them, the
-- version that was seen, the stream's key with the prefix, the id of its entry, and the frames.
--
-- After them come the words of any other change:
--          the log's id, the version that was seen; "" if there was no such log
--          "1" if the log exists afterwards
--          "1" if lists must learn of the change
--          the log's last description, if it is deleted; else ""
--          what listeners are told; else ""
--          an owner whose lease must be over; else ""
--          the number of commands; 0 if the log is only compared
--          for each command: how many words follow; its name, its key without the prefix, arguments
--
-- Returns the places of the plain changes that were not applied, because their logs were not as they
-- were seen; and for each other change its number, 0 if nothing was to be changed, -1 if the log was
-- not as it was seen, -2 if the owner's lease holds.

local prefix, argv, version = KEYS[1], ARGV, ARGV[4]
local call, sub, length = redis.call, string.sub, #version
local told, refused, results = {}, {}, {}

-- A node that listens alone needs no news of its own changes. Its connection listens to a channel of
-- its own, too, so the only listener cannot be another node. Without leave to ask, all is published.
-- In a cluster, nodes listen at the member that has the namespace. If its channels are those of all
-- members ("1"), nodes may listen at others, which cannot be asked.
local channel, is_loud, is_sharded = prefix .. 'feed', argv[5] == '1', argv[5] == '2'
local publish = is_sharded and 'SPUBLISH' or 'PUBLISH'
local count_them = is_sharded and 'SHARDNUMSUB' or 'NUMSUB'
local listening = is_loud or redis.pcall('PUBSUB', count_them, channel, channel .. ':' .. argv[1])
local is_heard = is_loud or listening.err or tonumber(listening[2]) ~= 1
  or tonumber(listening[4]) ~= 1

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

-- Plain changes. One command for many logs costs a fraction of a command for each.
local count, keys = tonumber(argv[6]), {}
local pages, name = 7 + 2 * count, #prefix + 5
local watched, ids, messages = prefix .. 'watched', {}, {}

for index = 1, count do keys[index] = argv[5 + 2 * index] end
if is_heard and count > 0 then
  for index = 1, count do ids[index] = sub(keys[index], name) end
  ids[count + 1] = '*'
end
local watchers = #ids > 0 and call('HMGET', watched, unpack(ids))

-- Tells an appended page to the nodes that watch its log, or to all. `watchers` has the origins of
-- nodes, one after the other; the last one of it has nodes that hear of all logs.
local function tell(index, since, entry, frames)
  local who = (watchers[index] or '') .. (watchers[count + 1] or '')
  if is_loud then who = '' elseif who == '' then return end
  local state = call('HGET', prefix .. 'log:' .. ids[index], 's')
  local news = pack('p') .. pack(state) .. pack(since) .. pack(entry) .. pack(frames)
  if is_loud then told[#told + 1] = news end
  for at = 1, #who, #argv[1] do
    local node = sub(who, at, at + #argv[1] - 1)
    if node ~= argv[1] then
      messages[node] = messages[node] or {argv[1]}
      table.insert(messages[node], news)
    end
  end
end

local found = count > 0 and call('MGET', unpack(keys))
for index = 1, count do
  local at, now = pages + 4 * index - 4, found[index]
  if now and sub(now, 1, length) == argv[at] then
    call('XADD', argv[at + 1], argv[at + 2], 'f', argv[at + 3])
    if is_heard then
      tell(index, sub(argv[6 + 2 * index], length + 1), argv[at + 2], argv[at + 3])
    end
  else
    refused[#refused + 1] = index
  end
end
if count > 0 and #refused == 0 then
  call('MSET', unpack(argv, 7, pages - 1))
elseif #refused < count then
  local skipped = 1
  for index = 1, count do
    if refused[skipped] == index then
      skipped = skipped + 1
    else
      call('SET', argv[5 + 2 * index], argv[6 + 2 * index])
    end
  end
end

-- A node that does not listen any more is forgotten. If it comes back, it says again what it watches.
for node, parts in pairs(messages) do
  if call(publish, channel .. ':' .. node, table.concat(parts)) == 0 then
    for index = 1, count + 1 do
      local who = watchers[index] or ''
      local at = string.find(who, node, 1, true)
      if at then
        who = sub(who, 1, at - 1) .. sub(who, at + #node)
        watchers[index] = who
        if who == '' then call('HDEL', watched, ids[index]) else call('HSET', watched, ids[index], who) end
      end
    end
  end
end

-- Other changes.
local words = pages + 4 * count - 1

local function word()
  words = words + 1
  return argv[words]
end

while words < #argv do
  local log_id, seen, is_there, is_noted = word(), word(), word(), word()
  local gone, news, rival, commands = word(), word(), word(), tonumber(word())
  local key, result = prefix .. 'now:' .. log_id, 0
  local now = call('GET', key)
  if (now and sub(now, 1, length) or '') ~= seen then
    result = -1
  elseif rival ~= '' and is_leased(rival) then
    result = -2
  elseif commands > 0 then
    result = call('INCR', prefix .. 'number')
  end
  for _ = 1, commands do
    local command = {}
    for index = 1, tonumber(word()) do command[index] = word() end
    if result > 0 then
      command[2] = prefix .. command[2]
      call(unpack(command))
    end
  end
  if result > 0 then
    if is_there == '1' then call('SET', key, version) else call('DEL', key) end
    if is_noted == '1' then note(log_id, result, gone) end
    if is_heard and news ~= '' then told[#told + 1] = pack('g') .. pack(news) end
  end
  results[#results + 1] = result
end

if #told > 0 then call(publish, channel, argv[1] .. table.concat(told)) end
return {refused, results}
