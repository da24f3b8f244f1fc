"""Decides for servers: which process runs which work, and which answer goes back.

Above it: fabric/runtime/bridge.py. Below it: peers. It knows nothing of fabric/core/edge.

Its floors, from above: `core` takes events in; `server_events` says what an event of a process means; `sessions` are those of
legacy clients; `jobs` are the requests that run, and `intake` decides whether more are taken; `processes` are those of each
server; `speaking` is how one talks with a process, in its era and for its clients.
"""
