"""Finds out which rights a Redis user has, by trying each command on a key that does not exist, where it does nothing."""

from __future__ import annotations

from redis.exceptions import NoPermissionError

from fabric.brokers.base import Rights
from fabric.brokers.redis.connection import Command, RedisConnection

KEY, CHANNEL = "{key}", "{channel}"
"""Placeholders in the commands below."""

WORKER: dict[str, Command] = {
    "ping": ("PING",),
    "client|id": ("CLIENT", "ID"),
    "eval": ("EVAL", "return 1", 0),
    "exists": ("EXISTS", KEY),
    "expire": ("EXPIRE", KEY, 1),
    "publish": ("PUBLISH", CHANNEL, ""),
    "unlink": ("UNLINK", KEY),
    "xadd": ("XADD", KEY, "NOMKSTREAM", "*", "b", ""),
    "xdel": ("XDEL", KEY, "0-1"),
    "xlen": ("XLEN", KEY),
    "xread": ("XREAD", "COUNT", 1, "STREAMS", KEY, "0-0"),
    "xtrim": ("XTRIM", KEY, "MINID", "0-1"),
    "subscribe": ("SUBSCRIBE", CHANNEL),
}
"""The rights that every worker needs, and a command for each. SUBSCRIBE is last, because Redis takes few commands after it."""

BRIDGE: dict[str, Command] = {
    "client|unblock": ("CLIENT", "UNBLOCK", 0),
    "del": ("DEL", KEY),
    "time": ("TIME",),
    "xack": ("XACK", KEY, "g", "0-1"),
    "xautoclaim": ("XAUTOCLAIM", KEY, "g", "c", 0, "0-0"),
    "xclaim": ("XCLAIM", KEY, "g", "c", 0, "0-1"),
    "xgroup|create": ("XGROUP", "CREATE", KEY, "g", "0"),
    "xgroup|createconsumer": ("XGROUP", "CREATECONSUMER", KEY, "g", "c"),
    "xgroup|delconsumer": ("XGROUP", "DELCONSUMER", KEY, "g", "c"),
    "xpending": ("XPENDING", KEY, "g", "-", "+", 1),
    "xrange": ("XRANGE", KEY, "-", "+"),
    "xreadgroup": ("XREADGROUP", "GROUP", "g", "c", "STREAMS", KEY, ">"),
    "zadd": ("ZADD", KEY, "XX", 1, "c"),
    "zcard": ("ZCARD", KEY),
    "zrangebyscore": ("ZRANGEBYSCORE", KEY, 0, 0),
    "zrem": ("ZREM", KEY, "c"),
}
"""The further rights that bridges need."""

EXCESS: dict[str, Command] = {
    "read the server's configuration": ("CONFIG", "GET", "maxmemory"),
    "use keys of others": ("EXISTS", "outside-of-every-fabric"),
    "publish to channels of others": ("PUBLISH", "outside-of-every-fabric", ""),
}
"""Rights that no worker needs, described for people."""


async def find_rights(connection: RedisConnection, prefix: str, topic: str) -> Rights:
    """Find the rights by trying all commands. The connection cannot be used afterwards.

    prefix: the beginning of the fabric's keys. topic: a pub/sub channel of the fabric.
    """
    everything = EXCESS | BRIDGE | WORKER
    replies = await connection.send(
        [
            [{KEY: f"{prefix}inbox.-", CHANNEL: topic}.get(str(word), word) for word in command]
            for command in everything.values()
        ]
    )
    refused = {right for right, reply in zip(everything, replies, strict=False) if isinstance(reply, NoPermissionError)}
    return Rights(
        missing=tuple(f"+{right}" for right in WORKER if right in refused),
        missing_to_bridges=() if refused >= BRIDGE.keys() else tuple(f"+{right}" for right in BRIDGE if right in refused),
        excess=tuple(right for right in EXCESS if right not in refused),
    )
