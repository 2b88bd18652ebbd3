"""Who may do what: staff accounts, roles, sessions, second factors, approvals, and signed callers' tokens.

Lives here: the rules (pure: bearer, roles, rules) and what keeps them in SQL schema `access`. May not: know
what a customer or a loan is, or import the core: where accounts live is handed in as a `Directory`.
Start reading at `roles.py` and `rules.py`, then `signing_in.py`.
"""
