"""Carries rows of a cell's outbox from the site's own PostgreSQL copy into the site's Valkey.

Here lives how: in order, each row with one effect, across failovers and losses of Valkey. What a row
means is the caller's (`Mapping`). No module here may write to PostgreSQL, and nothing that decides
about money may read what is written here. Start reading at `position.py`, then `projector.py`.
"""
