"""Off-policy evaluation: what a policy is worth, straight from a log that knows its propensities.

No user model stands between the log and the value, unless an estimator is given one to lean on.
Sessions are padded to [B, T]: B sessions, T pages of the longest one. Where a session is over its
reward and its predictions are 0 and its ratio is 1, so that weights stay what they were.
"""

from recgym.ope.episodes import pad
from recgym.ope.estimators import Parts, dm, dr, ips, snips, switch_dr, trajectory_ips, weighted_dr
from recgym.ope.fqe import fitted_q, values
from recgym.ope.intervals import estimate
from recgym.ope.overlap import Overlap, overlap
from recgym.ope.policies import Deterministic, Mixture, Stochastic
from recgym.ope.slates import independent, interaction, pseudoinverse
from recgym.ope.weights import before, cumulative, effective_sample_size

__all__ = [
    "Deterministic",
    "Mixture",
    "Overlap",
    "Parts",
    "Stochastic",
    "before",
    "cumulative",
    "dm",
    "dr",
    "effective_sample_size",
    "estimate",
    "fitted_q",
    "independent",
    "interaction",
    "ips",
    "overlap",
    "pad",
    "pseudoinverse",
    "snips",
    "switch_dr",
    "trajectory_ips",
    "values",
    "weighted_dr",
]
