"""Runs the cores in a process: a loop that drives each, its bus to the broker, and the links of edges and bridges.

Above it: workers/. Below it: fabric/core, links, brokers and security, and of fabric/config only the policy of retries.
"""
