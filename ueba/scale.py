"""The scale of scores: which score stands for how many digits of rarity, and how kinds add up. Pure."""

SCORE_DIGITS = (0.0, 1.0, 1.3, 2.0, 3.0, 4.0, 6.0, 8.0)
SCORE_AT = (0.0, 10.0, 20.0, 40.0, 70.0, 90.0, 98.0, 100.0)
"""A score at given digits: 1 in 20 is 20, 1 in 100 is 40, 1 in 1,000 is 70, 1 in 10,000 is 90. Source: our
choice on the levels of research §1.1 (Elastic's 20/40/70/90)."""
DIMINISHING = 1.5
"""Exponent of the diminishing sum. Source: research §1.1, Elastic's 1/i^1.5."""
