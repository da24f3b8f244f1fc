"""For tests of users' own clients and servers: connections in memory, scripted peers and faults. Real links, no mocks.

Above it: tests. Below it: the Python API and links in memory.
"""

from fabric.testing.faults import Fault, FaultyLink, breaking, doubling, faulty, losing, unharmed
from fabric.testing.memory import in_memory, scripted
from fabric.testing.peer import Answer, Peer, peers

__all__ = [
    "Answer",
    "Fault",
    "FaultyLink",
    "Peer",
    "breaking",
    "doubling",
    "faulty",
    "in_memory",
    "losing",
    "peers",
    "scripted",
    "unharmed",
]
