"""The sessions of legacy clients, each with a process of its own, and the event streams of those over HTTP."""
