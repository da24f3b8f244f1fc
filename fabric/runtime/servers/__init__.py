"""What a bridge does for each of its servers at run time: the command that checks it, and what is logged and read of it."""
