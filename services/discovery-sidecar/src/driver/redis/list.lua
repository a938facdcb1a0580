-- Our entries that are still where we put them, as place, version and record in turns. What somebody else took out of its set is
-- forgotten, so that it can be written again.
-- ARGV: root, the epoch as we wrote it.
local root, epoch = ARGV[1], ARGV[2]
local held = redis.call('GET', root .. 'epoch') or ''
if held ~= epoch then return { 'fenced', held } end
local all, found = redis.call('HGETALL', root .. 'entries'), { 'ok' }
for i = 1, #all, 2 do
  local record = cjson.decode(all[i + 1]:sub(all[i + 1]:find(' ', 1, true) + 1))
  if redis.call('SISMEMBER', record.set, record.member) == 1 then
    found[#found + 1], found[#found + 2] = all[i], all[i + 1]
  else
    redis.call('HDEL', root .. 'entries', all[i])
    redis.call('SREM', root .. 'at:' .. record.set .. ' ' .. record.member, all[i])
  end
end
return found
