"""What has to happen at once in Redis, in its Lua: KEYS[1] is a work stream. For Redis 7.0 and any Valkey.

An entry is touched only while it is pending for the consumer that asks: after XAUTOCLAIM gave it to another, a bare XACK and
XDEL of the former holder would still succeed, and take the other's work away.
"""

from __future__ import annotations

_MINE = """
local function mine(id, group, consumer)
  return #redis.call('XPENDING', KEYS[1], group, id, id, 1, consumer) > 0
end
"""

_GIVE_BACK = """
local function give_back(id, group)
  local entry = redis.call('XRANGE', KEYS[1], id, id)[1]
  if entry then
    entry[2][1] = 'r'
    redis.call('XADD', KEYS[1], '*', unpack(entry[2]))
  end
  redis.call('XACK', KEYS[1], group, id)
  redis.call('XDEL', KEYS[1], id)
end
"""

PUSH = """
if redis.call('XLEN', KEYS[1]) >= tonumber(ARGV[1]) then return 0 end
redis.call('XADD', KEYS[1], '*', unpack(ARGV, 3))
redis.call('EXPIRE', KEYS[1], ARGV[2])
return 1
"""
"""ARGV: most entries, time to live in seconds, fields of the entry. 1, or 0 if the stream is full."""

ACK = (
    _MINE
    + """
for i = 3, #ARGV do
  if mine(ARGV[i], ARGV[1], ARGV[2]) then
    redis.call('XACK', KEYS[1], ARGV[1], ARGV[i])
    redis.call('XDEL', KEYS[1], ARGV[i])
  end
end
"""
)
"""ARGV: group, consumer, ids."""

NACK = (
    _MINE
    + _GIVE_BACK
    + """
for i = 3, #ARGV do
  if mine(ARGV[i], ARGV[1], ARGV[2]) then give_back(ARGV[i], ARGV[1]) end
end
"""
)
"""ARGV: group, consumer, ids. A copy of each goes to the end, in the order of the ids."""

KEEP = (
    _MINE
    + """
redis.call('EXPIRE', KEYS[1], ARGV[3])
for i = 5, #ARGV do
  if mine(ARGV[i], ARGV[1], ARGV[2]) then
    redis.call('XCLAIM', KEYS[1], ARGV[1], ARGV[2], 0, ARGV[i], 'JUSTID')
  end
end
for _, consumer in ipairs(redis.call('XINFO', 'CONSUMERS', KEYS[1], ARGV[1])) do
  -- name, <name>, pending, <count>, idle, <ms>
  if consumer[4] == 0 and consumer[6] > tonumber(ARGV[4]) then
    redis.call('XGROUP', 'DELCONSUMER', KEYS[1], ARGV[1], consumer[2])
  end
end
"""
)
"""ARGV: group, consumer, time to live in seconds, milliseconds after which an idle consumer is forgotten, ids held."""

LEAVE = (
    _GIVE_BACK
    + """
while true do
  local held = redis.call('XPENDING', KEYS[1], ARGV[1], '-', '+', 100, ARGV[2])
  if #held == 0 then break end
  for _, entry in ipairs(held) do give_back(entry[1], ARGV[1]) end
end
redis.call('XGROUP', 'DELCONSUMER', KEYS[1], ARGV[1], ARGV[2])
if redis.call('XLEN', KEYS[1]) == 0 and #redis.call('XINFO', 'CONSUMERS', KEYS[1], ARGV[1]) == 0 then
  redis.call('DEL', KEYS[1])
end
"""
)
"""ARGV: group, consumer. Gives back what it holds, which DELCONSUMER would drop; the last out takes an empty stream along."""

OPEN_INBOX = """
if redis.call('EXISTS', KEYS[1]) == 0 then
  redis.call('XADD', KEYS[1], '0-1', 'b', '')
  redis.call('XDEL', KEYS[1], '0-1')
end
redis.call('EXPIRE', KEYS[1], ARGV[1])
"""
"""ARGV: time to live in seconds. What came while its owner was connecting again is still there."""
