"""Products: typed, versioned YAML documents, and the dated legal parameters they are checked by.

Lives here: the documents, their model, the check at load. May not: know customers or loans' rows.
A new product is data only. Start reading at `instalment-12.yaml`, then `model.py`.
"""
