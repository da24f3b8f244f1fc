"""Parts of the bridge at run time for one server: its health command, what is logged about it, its idle talk."""
