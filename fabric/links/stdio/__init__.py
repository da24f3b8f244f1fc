"""MCP over stdio: servers run as child processes, and this process's own stdin and stdout."""
