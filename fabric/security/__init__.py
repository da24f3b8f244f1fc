"""Security: authentication, Host and Origin rules, TLS, the fabric secret and its keys, sealed tokens.

Above this package: fabric/links, fabric/runtime and the workers. Below it: errors and caller.
"""
