"""The adapter for AMQP 0-9-1 on RabbitMQ. Begin with adapter.py."""
