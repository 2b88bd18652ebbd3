"""Staff-behaviour scoring: events, features, detectors, reasons, review queue.

Lives here: what scores staff, never customers. May not: see customer data in clear.
"""
