"""Turns files, a URI, the environment and the command line into the settings of a process.

Above it: workers/, which read the environment and call `load`; fabric/runtime takes single records of settings. In it: files/
reads the files of MCP hosts, schema/ says what may be written in them, settings/ has the records. Below it: the registries of
links, brokers and authentication.
"""
