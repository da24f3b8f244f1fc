"""The steps that have to be atomic in Redis, as Lua scripts for Redis 7.0 and any Valkey. Above it: adapter.py, work_reader.py.

KEYS[1] is a work stream. KEYS[2] is a sorted set of its consumers by the time of their last renewal. It is needed because Redis
7.0 counts a consumer that waits in a blocking read as idle, and does not know a consumer before its first read.

A script changes an entry only while it is pending for the consumer that calls. After XAUTOCLAIM gave the entry to another
consumer, a plain XACK and XDEL by the former one would still succeed, and delete the work of the other.
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
"""Adds an entry. ARGV: limit of entries, time to live in seconds, fields. Returns 1, or 0 if the stream is full."""

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
"""Acknowledges and deletes entries. ARGV: group, consumer, ids."""

NACK = (
    _MINE
    + _GIVE_BACK
    + """
for i = 3, #ARGV do
  if mine(ARGV[i], ARGV[1], ARGV[2]) then give_back(ARGV[i], ARGV[1]) end
end
"""
)
"""Gives entries back. ARGV: group, consumer, ids. A copy of each goes to the end, in the order of the ids."""

JOIN = """
local made = redis.pcall('XGROUP', 'CREATE', KEYS[1], ARGV[1], '0', 'MKSTREAM')
if made.err and not string.find(made.err, 'BUSYGROUP') then return made end
redis.call('XGROUP', 'CREATECONSUMER', KEYS[1], ARGV[1], ARGV[2])
redis.call('ZADD', KEYS[2], redis.call('TIME')[1], ARGV[2])
redis.call('EXPIRE', KEYS[1], ARGV[3])
redis.call('EXPIRE', KEYS[2], ARGV[3])
"""
"""Makes a consumer. ARGV: group, consumer, time to live in seconds. The group may exist already."""

KEEP = (
    _MINE
    + """
for i = 5, #ARGV do
  if mine(ARGV[i], ARGV[1], ARGV[2]) then
    redis.call('XCLAIM', KEYS[1], ARGV[1], ARGV[2], 0, ARGV[i], 'JUSTID')
  end
end
local now = tonumber(redis.call('TIME')[1])
redis.call('ZADD', KEYS[2], now, ARGV[2])
for _, consumer in ipairs(redis.call('ZRANGEBYSCORE', KEYS[2], '-inf', now - tonumber(ARGV[4]))) do
  if #redis.call('XPENDING', KEYS[1], ARGV[1], '-', '+', 1, consumer) == 0 then
    redis.call('XGROUP', 'DELCONSUMER', KEYS[1], ARGV[1], consumer)
    redis.call('ZREM', KEYS[2], consumer)
  end
end
redis.call('EXPIRE', KEYS[2], ARGV[3])
return redis.call('EXPIRE', KEYS[1], ARGV[3])
"""
)
"""Renews a consumer and the entries that it holds; removes dead consumers once others have claimed their entries.

ARGV: group, consumer, time to live in seconds, seconds after which a silent consumer is removed, ids held. Returns 0 if the
stream is gone.
"""

LEAVE = (
    _GIVE_BACK
    + """
while true do
  local held = redis.call('XPENDING', KEYS[1], ARGV[1], '-', '+', 100, ARGV[2])
  if #held == 0 then break end
  for _, entry in ipairs(held) do give_back(entry[1], ARGV[1]) end
end
redis.call('XGROUP', 'DELCONSUMER', KEYS[1], ARGV[1], ARGV[2])
redis.call('ZREM', KEYS[2], ARGV[2])
if redis.call('XLEN', KEYS[1]) == 0 and redis.call('ZCARD', KEYS[2]) == 0 then
  redis.call('DEL', KEYS[1])
end
"""
)
"""Removes a consumer. ARGV: group, consumer. First gives back the entries that it holds, which DELCONSUMER would drop.

The last consumer also removes the stream, if it is empty.
"""

OPEN_INBOX = """
if redis.call('EXISTS', KEYS[1]) == 0 then
  redis.call('XADD', KEYS[1], '0-1', 'b', '')
  redis.call('XDEL', KEYS[1], '0-1')
end
redis.call('EXPIRE', KEYS[1], ARGV[1])
"""
"""Makes an inbox, or keeps one with the entries that arrived while its owner connected again. ARGV: time to live in seconds."""
