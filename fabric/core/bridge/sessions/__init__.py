"""The sessions of legacy clients, each with a process of its own.

Above it: the bridge's core and server_events. Below it: jobs, streams, and the pool of each server.
"""
