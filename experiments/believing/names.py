"""What the cells, their verdict and the report call policies, shops and parts."""

from __future__ import annotations

NOTHING, LOGGING, GREEDY, ORACLE = "nothing", "logging", "greedy", "oracle"
AGENT = "dqn"  # trained in the fit to all shoppers
CURED = "cured"  # trained in one half of an ensemble, at the price of what it parts over
IN_TRUTH = "in_truth"  # trained in the true shop
CEILING = "ceiling"  # the same with many times the steps

TRUE = "true"
RIGHT, WRONG = "lstm", ("page_blind", "item_clicks")  # user models; the first is meant to be right
KINDS = (RIGHT, *WRONG)
TRAINED, SCORED = "trained", "scored"  # halves of the ensemble
