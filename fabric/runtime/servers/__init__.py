"""For each server of a bridge: runs the command that checks it, and limits what is logged about it and read from it."""
