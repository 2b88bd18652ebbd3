"""Staff at customers' data: no look without a record, no clear value without a purpose that allows it.

Lives here: what can be looked at and for what (`looks.py`, pure), and the one transaction that reads and
records (`service.py`). May not: decide who may look (access control does), show what was not recorded.
"""
