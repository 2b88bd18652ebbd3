"""What Kubernetes is told of cells and sites, by a process beside the agents. Start at `steward.py`.

The steward reads grants from etcd and tells its own site's API server: labels of pods, the EndpointSlice of
each cell's primary, the objects `Cell` and `Site`, how many API pods there have to be. Nothing that decides
reads any of it back (import contract): an API server that is slow, wrong or gone moves nothing.

`objects.py` (pure) says what the cluster shall hold, `writes.py` (pure) whether that may be written over what
is there, `cluster.py` speaks to the API server, `drills.py` carries out what a `Drill` asks for.
"""
