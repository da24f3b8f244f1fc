"""Authentication: a module for each way in which clients prove who they are; registry.py lists them."""
