-- Takes the name for our installation and raises the epoch, unless somebody was there before.
-- ARGV: key of the installation, our installation, key of the epoch, our epoch, the epoch as it is written.
local installation = redis.call('GET', ARGV[1])
if installation and installation ~= ARGV[2] then return { 'taken', installation } end
local held = redis.call('GET', ARGV[3]) or '0'
if tonumber(held:match('^%d+') or '0') > tonumber(ARGV[4]) then return { 'fenced', held } end
redis.call('SET', ARGV[1], ARGV[2])
redis.call('SET', ARGV[3], ARGV[5])
return { 'ok' }
