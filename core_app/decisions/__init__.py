"""Decisions: whether to lend, by ordered steps, each with its budget, its reasons and what it rested on.

Lives here: the steps (pure), variables, scorecards, the bureau's port, window counts, gangs, and the
application's one transaction. May not: keep or read personal data beyond an age; device evidence is kept
as keyed indexes only. Start reading at `steps.py`, then `service.py`; what decides is data in `documents/`.
"""
