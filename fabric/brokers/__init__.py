"""Brokers carry packs between processes: a folder for each broker, and the parts that all adapters share.

base.py is the contract of one connection. Each adapter (nats, redis, amqp, memory) keeps it, and registry.py finds the
adapter by the scheme of a broker's URL. Above this package, fabric/runtime/bus.py keeps a process connected and translates
between the brokers and the core. Below it are addressing (the names of channels) and the errors.

Adapters share by composition: ConnectionState (up, lost or closed), PublishReport (the result for each message) and Mailbox
(deliveries that the broker pushed). Each adapter detects a stalled broker in its own way: NATS by a PING, Redis by the commands
that renew its keys, RabbitMQ by the heartbeats that the broker sends. One clock for the three would hold three cases and save
no line.
"""
