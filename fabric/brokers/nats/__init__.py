"""The adapter for NATS: core NATS, and JetStream to keep work. Begin with adapter.py."""
