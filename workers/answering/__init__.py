"""Answers the requests of a server during a call, from the terminal or the command line, and shows the call's progress."""
