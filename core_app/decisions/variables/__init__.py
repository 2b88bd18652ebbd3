"""The variable registry: what is known of a customer's history, as definitions that are data.

A variable sees the business days before the one it is asked for, so the same definition gives the same
value at the decision and years later from history. Today's events are counted by `decisions.windows`.
May not: execute text. Start reading at `definition.py`, then `compile.py`.
"""
