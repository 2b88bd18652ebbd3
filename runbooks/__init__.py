"""The operator's side: the embedded two-site stand, drills as executable runbooks, the command `biyi`.

Lives here: what a person runs. May not: hold business rules. Start reading at `cli.py`.
"""
