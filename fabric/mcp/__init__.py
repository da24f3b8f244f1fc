"""The Model Context Protocol, as far as the fabric has to know it: pure functions on frames, for every part of the house.

Above it: faults, the core, links and all that is built on them. Below it: `fabric.errors` alone.
"""
