"""Train the marketing score on customers that do not exist: who answers an offer, as a made-up rule has it.

The same seed gives the same document to the last digit. It says nothing about real customers.
"""

import datetime as dt

import numpy as np

from core_app.decisions.scorecard import Scorecard
from core_app.decisions.training.fit import fit_card
from core_app.decisions.training.synthetic import Population, make_population

INPUTS = ("var.loans_drawn", "var.applications_90d", "var.days_since_draw")
"""What we know of customers who have borrowed; neither refusals nor arrears, which are not for selling."""
OF_ITS_OWN = 55
"""Draws apart from the population's own, so that the credit cards stay as they are."""


def train_score(seed: int, rows: int, valid_from: dt.date) -> Scorecard:
    """Return the card: its log odds are those of no answer, so points rise with the chance of one."""
    people = make_population(seed, rows)
    known = people.only(people.inputs["var.loans_drawn"] > 0)
    draw = np.random.default_rng([seed, OF_ITS_OWN])
    count = len(known.defaulted)
    since = np.floor(draw.exponential(120.0, count))
    odds = -1.6 + 0.4 * known.inputs["var.loans_drawn"] + 0.5 * known.inputs["var.applications_90d"]
    odds = odds - 0.006 * since + 0.6 * draw.standard_normal(count)
    answered = draw.random(count) < 1 / (1 + np.exp(-odds))
    seen = known.inputs | {"var.days_since_draw": since}
    about = f"synthetic population, seed {seed}, {count // 2} rows of customers with a loan; "
    about += "says nothing about real customers"
    told = Population(seen, ~answered)
    return fit_card("marketing-response", "marketing score", told, INPUTS, (about, valid_from)).card
