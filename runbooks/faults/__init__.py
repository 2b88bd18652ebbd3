"""The fault matrix: many faults, close together, composed from a seed, on the real stand under load.

Lives here: the catalogue of injectors (`catalogue.py`), schedules (`schedule.py`), what holds the stand's
broken things (`ground.py`), workloads with recorded histories, pure checkers, the runner. May not: decide
anything about failover, or know a cell's business rows (that is `runbooks.drills`, whose load runs beside).
Start reading at `runner.py`.
"""
