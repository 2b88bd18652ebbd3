"""The operator's side of keys: status, rotation while both sites write, root operations by two people.

Lives here: what asks both sites' keepers and every cell. May not: hold rules about keys, those are
`compliance.protection`. Start reading at `rotate.py`.
"""
