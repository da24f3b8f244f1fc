"""The adapter for AMQP 0-9-1, as RabbitMQ speaks it. adapter.py is the place to begin."""
