"""Compliance: field protection, audit, Level-3 evidence, filings.

Lives here: what protects data and what proves it. May not: change business rows.
Start reading at `protection/__init__.py`.
"""
