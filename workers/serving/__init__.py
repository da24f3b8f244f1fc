"""The commands that serve until they are stopped: up, edge, bridge, connect.

Their options are in workers/commands/serving.py.
"""
