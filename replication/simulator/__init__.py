"""A deterministic model of cells under faults, run by the production failover loop.

What is real: `replication.failover` (sight, observe, decide, act, loop) and the grant's words. What is
a model: time and tasks (`engine`), links, etcd, PostgreSQL (`copies`, `streams`), clients. One seed
makes one schedule; nothing here reads a clock, a file or a socket. Start reading at `schedule.py`;
the rules checked after every step stand in `invariants.py`.
"""
