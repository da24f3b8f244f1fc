"""The adapter for Redis Streams, on Redis or Valkey. Begin with adapter.py."""
