"""The adapter for Redis Streams, on Redis or Valkey. adapter.py is the place to begin."""
