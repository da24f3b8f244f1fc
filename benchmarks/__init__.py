"""Benchmarks: the cost of a call through the fabric, compared with a minimal relay and with other proxies."""
