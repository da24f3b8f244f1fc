"""Tools on the command line: their schemas and descriptions in words, their arguments, their results."""
