"""The exchange in a box: BloFin's rules, books and wire on loopback, for tests and dry runs.

`venue` decides and does no I/O; `box` puts markets, keys, limits and faults around it and answers
requests as bytes, still without I/O or a clock; `server` puts the box on sockets. It reads the
protocol with its own code on purpose: the native client and the box check each other.
"""
