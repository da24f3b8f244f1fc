"""A nats-server that nobody has to install: nats_server.py is for its users, keeper.py the process that runs it."""
