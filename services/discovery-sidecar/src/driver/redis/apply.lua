-- Applies changes all or not at all. What is ours of a registry lies below one root: `epoch`, `version` (a counter), `entries`
-- (place -> version and record) and, for every member of a set, the places of ours that want it there.
-- ARGV: root, the epoch as we wrote it, changes in JSON. Answers a row for the call and then one per change.
local root, epoch, changes = ARGV[1], ARGV[2], cjson.decode(ARGV[3])
local held = redis.call('GET', root .. 'epoch') or ''
if held ~= epoch then return { { 'fenced', held } } end

local entries = root .. 'entries'
local function wanting(record) return root .. 'at:' .. record.set .. ' ' .. record.member end

-- Our entry at a place, if it is still where we put it.
local function there(place)
  local raw = redis.call('HGET', entries, place)
  if not raw then return nil end
  local space = raw:find(' ', 1, true)
  local found = { version = raw:sub(1, space - 1), text = raw:sub(space + 1), raw = raw }
  found.record = cjson.decode(found.text)
  if redis.call('SISMEMBER', found.record.set, found.record.member) == 0 then return nil end
  return found
end

-- Why the change cannot be made, if it cannot.
local function obstacle(change, found)
  if found and found.version ~= change.over then return { 'differs', found.raw } end
  if change.over and not found then return { 'differs' } end
  if not change.text then return nil end
  local record = cjson.decode(change.text)
  local kind = redis.call('TYPE', record.set).ok
  if kind ~= 'none' and kind ~= 'set' then return { 'refused', kind } end
  local taken = redis.call('SISMEMBER', record.set, record.member) == 1
  if taken and redis.call('SCARD', wanting(record)) == 0 then return { 'foreign' } end
  return nil
end

local answer, free = { { 'ok', '0' } }, true
for i, change in ipairs(changes) do
  local blocked = obstacle(change, there(change.place))
  free = free and not blocked
  answer[i + 1] = blocked or { 'again' }
end
if not free then return answer end

-- A member goes when none of our entries wants it any more.
local function release(place)
  local raw = redis.call('HGET', entries, place)
  if not raw then return end
  local record = cjson.decode(raw:sub(raw:find(' ', 1, true) + 1))
  redis.call('SREM', wanting(record), place)
  if redis.call('SCARD', wanting(record)) == 0 then redis.call('SREM', record.set, record.member) end
  redis.call('HDEL', entries, place)
end

local version = tostring(redis.call('INCR', root .. 'version'))
answer[1][2] = version
for i, change in ipairs(changes) do
  if change.text then
    local record = cjson.decode(change.text)
    -- Nobody sees what is between the two.
    release(change.place)
    redis.call('SADD', record.set, record.member)
    redis.call('SADD', wanting(record), change.place)
    redis.call('HSET', entries, change.place, version .. ' ' .. change.text)
  else
    release(change.place)
  end
  answer[i + 1] = { 'done' }
end
return answer
