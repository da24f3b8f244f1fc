"""The embedded broker, a nats-server that needs no installation: nats_server.py finds or starts it, keeper.py runs it."""
