"""What may be written: the sections of the file, the types of their values, and what is said of a wrong one."""
