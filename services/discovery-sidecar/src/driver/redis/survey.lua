-- Everything in the sets below a prefix, and whose it is. `entry` rows are what sidecars wrote (owner, place, version and record),
-- `member` rows what nobody says is his. With an owner, the keys of that owner that are no entries are deleted instead, if he has no
-- entry left.
-- ARGV: root, the epoch as we wrote it, prefix of the sets, what begins roots, owner or nothing, key of our own installation.
local root, epoch, prefix, begins, owner, claim = ARGV[1], ARGV[2], ARGV[3], ARGV[4], ARGV[5], ARGV[6]
local held = redis.call('GET', root .. 'epoch') or ''
if held ~= epoch then return { { 'fenced', held } } end

local function keys(pattern)
  local cursor, all = '0', {}
  repeat
    local page = redis.call('SCAN', cursor, 'MATCH', pattern, 'COUNT', 1000)
    cursor = page[1]
    for _, key in ipairs(page[2]) do all[#all + 1] = key end
  until cursor == '0'
  table.sort(all)
  local once = {}
  for i, key in ipairs(all) do if key ~= all[i - 1] then once[#once + 1] = key end end
  return once
end

local function quoted(text) return (text:gsub('[%*%?%[%]%^\\]', '\\%0')) end

local answer = { { 'ok' } }
-- Owners have two dots, and an installation has none.
local function owner_of(key, what)
  local found = key:sub(#begins + 1, -(#what + 2))
  if found:find('^[a-z0-9-]+%.[a-z0-9-]+%.[a-z0-9-]+$') then return found end
  return nil
end

if owner then
  local function is_his(found) return found == owner or (not owner:find('.', 1, true) and found:sub(1, #owner + 1) == owner .. '.') end
  for _, what in ipairs({ 'epoch', 'version' }) do
    for _, key in ipairs(keys(quoted(begins) .. '*:' .. what)) do
      local found = owner_of(key, what)
      local mine = begins .. (found or '') .. ':' == root
      if found and is_his(found) and not mine and redis.call('HLEN', begins .. found .. ':entries') == 0 then
        redis.call('DEL', key)
        answer[#answer + 1] = { 'mark', key }
      end
    end
  end
  local installation = begins .. 'installation:' .. owner
  if installation ~= claim and redis.call('DEL', installation) == 1 then answer[#answer + 1] = { 'mark', installation } end
  return answer
end

local wanted = {}
for _, key in ipairs(keys(quoted(begins) .. '*:entries')) do
  local found = owner_of(key, 'entries')
  if found and redis.call('TYPE', key).ok == 'hash' then
    local all = redis.call('HGETALL', key)
    for i = 1, #all, 2 do
      local good, record = pcall(cjson.decode, all[i + 1]:sub((all[i + 1]:find(' ', 1, true) or 0) + 1))
      if good and type(record) == 'table' and record.set and record.member then
        local there = redis.call('TYPE', record.set).ok == 'set' and redis.call('SISMEMBER', record.set, record.member) == 1
        -- What is not in its set any more is only a mark of its owner: shown if it is not ours, so that it can be taken out.
        if there or begins .. found .. ':' ~= root then answer[#answer + 1] = { 'entry', found, all[i], all[i + 1] } end
        wanted[record.set .. ' ' .. record.member] = true
      end
    end
  end
end
for _, key in ipairs(keys(quoted(prefix) .. '*')) do
  if redis.call('TYPE', key).ok == 'set' and not key:find('^' .. 'bcs:[a-z0-9-]+%.[a-z0-9-]+%.[a-z0-9-]+:at:') then
    local members = redis.call('SMEMBERS', key)
    for _, member in ipairs(members) do
      if not wanted[key .. ' ' .. member] then answer[#answer + 1] = { 'member', key, member } end
    end
  end
end
return answer
