"""A tool on the command line: its schema and description in words, its arguments, its result."""
