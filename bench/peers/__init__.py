"""The same site loss, ours and Patroni's, on one machine in one run: `make bench-peers`.

Lives here: two clusters made of the same PostgreSQL and the same etcd (`ours.py`, `theirs.py`), one load
and one kill for both (`load.py`, `run.py`), and what it came to (`measure.py`, no I/O). May not: change
anything of the product. Start reading at `run.py`.
"""
