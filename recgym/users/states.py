"""What a learned user model remembers of a session, and what it says in such a state."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from recgym.lanes import Record
from recgym.types import Organic
from recgym.users.tastes import Belief, CommonTaste

NUM_FADING = 2  # R, of means of what was viewed, each with a memory of its own
MOST_GROUPS = 64  # J, of categories whose views are counted; beyond, some share a count


@dataclass(frozen=True)
class SequenceState(Record):
    """What the model remembers of a session; a function of observable events alone."""

    h: Tensor  # [N, H] what the memory says
    memory: Record  # what it keeps beside, of a kind that only it reads
    context: Tensor  # [N, .] fused profile, sine and cosine of the hour of arrival; fields kept
    tally: Tensor  # [N, NUM_TALLIES] sums of surprises so far, see `tallies`
    viewed: Tensor  # [N, R D] fading means of the items viewed
    belief: Belief
    evidence: Tensor  # [N, G] log-likelihood of what happened so far in each segment, normalised
    sated: Tensor  # [N, J] fading count of the views of each group of categories
    clicks: Tensor  # [N, J] the same of clicks, over the shopper's sessions; see `returning`
    last: Tensor  # [N, 2, L] int64, items viewed, newest first, and what followed; -1 for none
    fold: Tensor  # [N] int64, which table says what follows what, see `pointers.Successors`


@dataclass(frozen=True)
class Reading(Record):
    """All heads of the model in one state, from a single product."""

    state: SequenceState
    found: Organic  # what is found alone: the same in all segments
    share: Tensor  # [N, G] log-probability of each segment
    covariance: Tensor  # [N, V, V] of the shopper's own taste
    usual: Tensor  # [N, X] mean input of what is found alone
    shared: Tensor  # [N, S] the heads of `Supposed` before the part of the segment


@dataclass(frozen=True)
class Levels(Record):
    """The heads of a shopper of one segment that no item's vector is matched with."""

    level: Tensor  # [N, 7] of clicked, buy, cart, favourite; the last three if clicked
    upper: Tensor  # [N, 2] leave, checkout
    slope: Tensor  # [N, 2] on moves of an item's price, positive: of clicks, of sales
    usual_slope: Tensor  # [N, 2] on the items' usual prices, of either sign


@dataclass(frozen=True)
class Supposed(Record):
    """The heads of a shopper of one segment, at one node of the taste that a page speaks to."""

    found: Organic
    covariance: Tensor  # [N, V, V]
    usual: Tensor  # [N, V] mean load of what is found alone
    node: Tensor  # [N] in standard deviations
    clicked: Tensor  # [N, D] query of the items shown
    anyone: Tensor  # [N, D] the same without the part of the segment
    worth: Tensor  # [N, D] query of what is bought, carted, made a favourite
    sated: Tensor  # [N, J] as in the state
    levels: Levels
    faced: CommonTaste | None = None  # of the page that they stand before; None before any
