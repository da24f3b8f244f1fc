"""Access and proof: authentication, Host and Origin rules, TLS, the fabric secret, its keys, sealed tokens."""
