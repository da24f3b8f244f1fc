"""Answers what a server asks during a call, from the terminal or from the command line; and shows the call's progress."""
