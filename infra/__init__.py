"""Infrastructure: the Pulumi program that says what runs where, and the checks before anything is created.

Lives here: settings, topology and policy as values, one component a file, workloads, dashboards.
May not: import any other package of ours. Start reading at `program.py`, then `topology.py` and `policy.py`.
"""
