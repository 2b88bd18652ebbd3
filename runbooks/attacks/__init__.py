"""Recorded attacks as data, one a file, and what must stop each request: `recorded.py`, `replay.py`."""
