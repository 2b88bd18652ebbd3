"""Whom to tell of an offer, what acquisition channels cost, what customers do on our own pages.

May not: refuse anybody anything, or be asked by what decides, prices, lends or books (an import contract
holds them apart). Nobody is told or watched without a consent of its own kind, which may be withdrawn.
Start reading at `campaign.py`, then `choosing.py`.
"""
