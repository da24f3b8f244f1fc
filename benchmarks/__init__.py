"""Benchmarks: what a call through the fabric costs, beside a relay that does as little as a relay can."""
