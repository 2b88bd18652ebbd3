"""Rules: the dated legal parameters as rows of data, and the engine that judges measures by them.

Lives here: `parameters.yaml` and `exclusions.yaml` (key, value, from, to, source, status), `legal.py`
(a row and the rows in force), `engine.py` (measures in, refusals out), `measure.py` (what a product,
a quote, a contract and a posting measure). May not: hold a limit as a literal in code, or do I/O
(`read.py` alone opens the two files). Start reading at `engine.py`.
"""
