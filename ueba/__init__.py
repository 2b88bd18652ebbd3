"""Staff-behaviour scoring: events, features, detectors, reasons, review queue.

Lives here: what scores staff, never customers. May not: see customer data in clear.

Start at `events.py` (what comes in), then `features/tables.py` (a day of one person in numbers),
`evidence.py` (how unusual that is), `scoring.py` (one score), `queue.py` (who is looked at today).
"""
