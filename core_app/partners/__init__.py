"""What partner banks send us: the published field dictionary, its validator, and their scores.

Start with `dictionary.yaml`. No rule about a field stands in code: a partner reads the rows that check it.
"""
