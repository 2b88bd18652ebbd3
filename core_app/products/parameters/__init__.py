"""The parameters of a product document, by group, each with its meaning and who reads it.

Lives here: `shapes.py` (how a parameter is declared), `terms.py` (what the loan is), `reach.py` (to
whom and through whom), `conduct.py` (how the business behaves). May not: compute anything.
`read_by` names the module a parameter takes effect in; a module not built yet is named all the same,
and a test holds each to account. Start reading at `terms.py`.
"""
