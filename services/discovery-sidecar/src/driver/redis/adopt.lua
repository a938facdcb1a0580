-- Makes entries of others ours, or takes them out; all or none of them. A change has `text`, the record that we keep, and `from`
-- when another sidecar's record goes with it; or `evict`, the record of another sidecar. Members stay in their sets all the while.
-- ARGV: root, the epoch as we wrote it, changes in JSON, what begins roots. Answers a row for the call and then one per change.
local root, epoch, changes, begins = ARGV[1], ARGV[2], cjson.decode(ARGV[3]), ARGV[4]
local held = redis.call('GET', root .. 'epoch') or ''
if held ~= epoch then return { { 'fenced', held } } end

local entries = root .. 'entries'
local function decoded(raw) return cjson.decode(raw:sub(raw:find(' ', 1, true) + 1)) end
local function at(where, record) return where .. 'at:' .. record.set .. ' ' .. record.member end

-- Root, place and record that "owner place" names.
local function theirs(name)
  local owner, place = name:match('^(%S+) (.+)$')
  local where = owner and (begins .. owner .. ':') or root
  local raw = redis.call('HGET', where .. 'entries', place or name)
  return where, place or name, raw and decoded(raw)
end

local function obstacle(change)
  if change.evict then
    local _, _, record = theirs(change.evict)
    if not record then return { 'foreign', 'it is gone since it was read' } end
    return nil
  end
  local record, raw = cjson.decode(change.text), redis.call('HGET', entries, change.place)
  local seen = nil
  if raw then seen = raw:sub(1, raw:find(' ', 1, true) - 1) end
  if seen ~= change.over then return { 'foreign', 'ours was changed since it was read' } end
  if redis.call('TYPE', record.set).ok ~= 'set' or redis.call('SISMEMBER', record.set, record.member) == 0 then
    return { 'foreign', 'it is gone since it was read' }
  end
  if change.from then
    local _, _, before = theirs(change.from)
    if not before or before.set ~= record.set or before.member ~= record.member then
      return { 'foreign', 'its owner changed it since it was read' }
    end
  end
  return nil
end

local answer, free = { { 'ok', '0' } }, true
for i, change in ipairs(changes) do
  local blocked = obstacle(change)
  free = free and not blocked
  answer[i + 1] = blocked or { 'again' }
end
if not free then return answer end

-- Whether anybody else wants a member.
local function wanted_beside(record)
  local cursor = '0'
  repeat
    local page = redis.call('SCAN', cursor, 'MATCH', begins .. '*:epoch', 'COUNT', 1000)
    cursor = page[1]
    for _, key in ipairs(page[2]) do
      if redis.call('SCARD', at(key:sub(1, -6), record)) > 0 then return true end
    end
  until cursor == '0'
  return redis.call('SCARD', at(root, record)) > 0
end

local version = tostring(redis.call('INCR', root .. 'version'))
answer[1][2] = version
for i, change in ipairs(changes) do
  if change.evict or change.from then
    local where, place, record = theirs(change.evict or change.from)
    redis.call('HDEL', where .. 'entries', place)
    redis.call('SREM', at(where, record), place)
    if change.evict and not wanted_beside(record) then redis.call('SREM', record.set, record.member) end
  end
  if change.text then
    redis.call('SADD', at(root, cjson.decode(change.text)), change.place)
    redis.call('HSET', entries, change.place, version .. ' ' .. change.text)
  end
  answer[i + 1] = { 'done' }
end
return answer
