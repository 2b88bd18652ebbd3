"""Decisions: whether to lend, by ordered rules, each refusal with its reasons.

Lives here: the pure rules, the application's row and its one transaction.
May not: read personal data beyond an age. Start reading at `rules.py`.
"""
