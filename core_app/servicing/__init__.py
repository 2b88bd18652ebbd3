"""After the sale: collections under the contact limits, hardship, complaints.

Lives here: the contact limits (`contact.py`, pure), the strategy by days past due (`collection.py`, pure, and
`strategies.yaml`), what is said (`scripts.py`, pure, and `scripts.yaml`), attempts and what became of them
(`attempts.py`), the machine that works on tasks (`collector.py`), complaints. May not: change a loan, or hold
a limit as a literal: limits are rows of `core_app.rules`. Start reading at `contact.py`.
"""
