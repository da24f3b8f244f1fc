"""From what a person wrote to the settings of a process: files, a URI, the environment and the command line.

Above it: workers/, which read the environment and call `load`; fabric/runtime takes single records of settings. Below it:
fabric/config/schema says what may be written, fabric/config/files reads the files of MCP hosts.
"""
