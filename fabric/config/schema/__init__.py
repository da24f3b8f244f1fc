"""The schema of the file: its sections, the types and checks of their values, and the messages about wrong ones."""
