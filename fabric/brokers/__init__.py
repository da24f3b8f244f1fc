"""How packs travel between processes: a folder for each broker, and what all adapters share.

base.py is the contract of one connection. Each adapter (nats, redis, amqp, memory) keeps it, and registry.py finds the
adapter by the scheme of a broker's URL. Above this package, fabric/runtime/bus.py keeps a process connected and speaks the
events and effects of the core; an adapter knows neither. Below it are addressing (what channels are called) and the errors.

Adapters share by composition: ConnectionState (up, lost or closed), PublishReport (what became of each message) and Mailbox
(deliveries that the broker pushed). Each has its own signs of life: NATS is asked by PING, Redis by what renews its keys, and
RabbitMQ's heartbeats come by themselves, so that one clock for all three would hold three cases and save no line.
"""
