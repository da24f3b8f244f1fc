"""TCP and Unix sockets: bound, connected to, and made into links of newline-delimited JSON-RPC."""
