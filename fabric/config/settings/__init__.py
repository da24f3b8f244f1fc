"""The settings as frozen records: of a process (process.py), of a server (server.py), of retries (retry.py)."""
