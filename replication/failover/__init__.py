"""One cell's failover loop: observe, decide, journal, act.

Layers, high to low: loop, then observe and act, then decide, then states. Only `act.py` may change
a grant; `decide.py` and `states.py` do no I/O. Start reading at `states.py`.
"""
