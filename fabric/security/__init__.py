"""Who may do what, and proof of it: the fabric secret, its keys, sealed tokens."""
