"""Training of the shipped scorecards, reproducibly, on a synthetic population of this package's making.

Every figure measured here is of synthetic data and says so: it shows that the machinery works, and
nothing about real borrowers. The only package of the core that needs numpy; no service imports it.
Start reading at `synthetic.py`, then `fit.py`.
"""
