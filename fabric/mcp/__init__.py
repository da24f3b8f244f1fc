"""The parts of the Model Context Protocol that the fabric needs, as pure functions on frames.

Above it: faults, the core, links and all that is built on them. Below it: only `fabric.errors`.
"""
