"""The notary of a site: seals what cells wrote and signs checkpoints of it.

Lives here: when to seal and to sign, on which cell, and what a site remembers of it. What a block and a
checkpoint are is `compliance.audit`'s. Start reading at `notary.py`.
"""
