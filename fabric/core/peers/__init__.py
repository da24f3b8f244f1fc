"""How two incarnations talk: lanes, leases, announcements. It knows no client and no server.

Above it: the cores of edge and bridge, and the observer's beside it. Below it: events, effects, the envelope.
"""
