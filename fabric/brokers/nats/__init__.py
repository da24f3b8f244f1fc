"""The adapter for NATS: core NATS, and JetStream to keep work. adapter.py is the place to begin."""
