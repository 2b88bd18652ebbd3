"""A made-up lending organisation with known misuse in it, to measure detection by.

Its parameters were fixed before anything was tuned (docs/decisions/031). Start at `scenarios.py`.
Everything follows from the seed; no real person's data are in it.
"""
