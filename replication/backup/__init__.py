"""Backup and restore of cells: WAL of each cell archived at both sites, base backups, restore to a second.

Lives here: the sealed file format, the archive's layout, streaming WAL into it, taking, verifying and
keeping base backups, building a fresh directory out of them. May not: know tables of the core (checks
of a restored cell are handed in), touch grants, or serve clients. Start reading at `plan.py` (what is
chosen and why), then `archiver.py`, `take.py`, `restore.py`.
Pure: frames, plan.
"""
