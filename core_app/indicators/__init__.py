"""Risk indicators: what the company lends as a whole, against bounds of the law and of its own appetite.

Lives here: the table of indicators as data (`table.yaml`), the judgement (`table.py`, pure), the sums it is
judged by (`read.py`), and what follows for partners (`enforce.py`). May not: decide about one loan. Start
reading at `table.yaml`.
"""
