"""Day-end: a cell's business date moves on, and what the evening was is written down.

Lives here: the SQL that looks at a chunk's evening, one transaction a chunk, and what runs over all chunks
of a cell and goes on where it was killed.
May not: change a loan. Where a loan stands follows from its rows and the day (`core_app.loans.standing`), so
nothing has to be written for a day to pass. Start reading at `service.py`, then `store.py`.
"""
