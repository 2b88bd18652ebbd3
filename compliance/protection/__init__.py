"""Field protection: keys, SM4-GCM fields, blind indexes, masking, self-tests at start.

Lives here: everything between clear personal data and a stored byte. May not: know tables beyond
the register in `fields.py`, log, or read a clock. Start reading at `vault.py`, then `fields.py`.
Pure: fields, index, masking, known_answers. Effects: key_file (reads one file), vault (randomness).
"""
