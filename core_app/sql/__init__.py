"""SQL of the lending core: numbered migrations and the code that applies them.

Lives here: `migrations/NNN_*.sql`, applied once each, in order, never edited after release.
May not: hold statements of a single caller, which stand beside it. Start reading at `apply.py`.
"""
