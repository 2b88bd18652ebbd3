"""Tamper-evident audit: chains of blocks, chains of signed checkpoints, exports, their verification.

Lives here: what an entry, a block and a checkpoint are, how each is hashed, the SQL that seals and reads
them, the export file and its verification without a database. May not: know what an entry is about, find
a primary, or change a sealed row. Start reading at `chain.py`, then `store.py`, `verify.py`. The process
that seals and signs is `core_app.notary`. Pure: chain, checkpoint, digest, findings, parts.
"""
