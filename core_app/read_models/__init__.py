"""What is kept ready at both sites for reading: made of outbox rows, held in the site's Valkey.

A read model is for showing. It may be behind, it says how far, and nothing that decides about money
may read it: an import contract keeps every other package of the core from importing this one, but
for the API's routes. May not: fetch or write anything at the mapping. Start at `loan_summary.py`.
"""
