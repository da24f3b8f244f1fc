"""TCP, TLS and Unix sockets: binding them, and links of newline-delimited JSON-RPC over them."""
