"""Moving a chunk of slots from one running cell to another while its customers go on.

Start at `move.py` (the steps, who may write when, what a death leaves behind); `tables.py` says of every
table of the core whether its rows belong to customers and how a chunk's are found. docs/decisions/129 has the
proof.
"""
