"""One copy's PostgreSQL as asyncio functions: start, stop, promote, follow, rewind, clone, look.

Lives here: everything that runs a PostgreSQL program or speaks SQL to a copy as an agent. May not:
decide anything; a function does what it is told or raises `PostgresError`. Modules, low to high:
copy, processes, observe, standing, write_probe, conf, hba, control, replica, bootstrap. Start reading at
`copy.py`.
"""
