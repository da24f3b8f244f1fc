"""TCP and Unix sockets: how they are bound, and the links of newline-delimited JSON-RPC over them."""
