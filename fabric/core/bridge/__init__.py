"""The decisions about servers: which process runs which work, and which answer goes back.

Above it: fabric/runtime/bridge.py. Below it: peers. It knows nothing of fabric/core/edge.

Its layers, from above: `core` takes events in; `server_events` says what an event of a process means; `sessions` has those of
legacy clients; `jobs` has the requests that run, and `intake` decides whether more are taken; `processes` has those of each
server; `speaking` translates between a process and its clients, in their eras.
"""
