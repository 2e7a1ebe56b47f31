"""What the cells, their verdict and the report call policies and shops."""

from __future__ import annotations

NOTHING, LOGGING, GREEDY, ORACLE = "nothing", "logging", "greedy", "oracle"
AGENT = "dqn"  # trained in the fit to all shoppers
CURED = "dqn, cured"  # trained in one half of an ensemble, at the price of what it parts over
IN_TRUTH = "dqn, trained in truth"
CEILING = "ceiling"  # the same with many times the steps

TRUE = "true"
RIGHT, WRONG = "lstm", ("page_blind", "item_clicks")  # user models; the first is meant to be right
KINDS = (RIGHT, *WRONG)
TRAINED, SCORED = "trained", "scored"  # halves of the ensemble
