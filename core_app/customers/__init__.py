"""Customers: who they are, with personal data only as protected fields.

Lives here: rules of ID numbers and phones (pure), sealing and opening, the customer's rows.
May not: hand a clear value to a log, an error or the outbox. Start reading at `service.py`.
"""
