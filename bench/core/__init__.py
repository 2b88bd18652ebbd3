"""What the lending core posts in a second, beside pgbench with the same statements on the same server.

`python -m bench.core` (`make bench-core`); writes bench/results/core.json. Start reading at `__main__.py`.
"""
