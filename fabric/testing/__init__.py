"""Parts for tests of MCP clients and servers on the fabric: real links in memory, no mocks."""
