"""The commands that check: doctor, config check, transports.

Their options are in workers/commands/checking.py.
"""
