"""Authentication of clients: a module for each method; registry.py lists them."""
