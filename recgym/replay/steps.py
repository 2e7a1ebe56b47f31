"""A session as plain numbers: what the terminal and the page show of it.

A learned shopper's state leaves open what kind of shopper it is. The simulator draws a kind on each
page and then the choice. Hence two chances of each choice: over all kinds, which multiply to the
session's likelihood, and those of the kind that was drawn.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from recgym.explain.histories import History
from recgym.types import After, Kind


@dataclass(frozen=True)
class Item:
    """An item where it stands: a slot, a place among those not shown, or a find."""

    item: int
    category: int
    price: float  # currency units
    score: float | None = None  # the policy's own, in a unit of its own; None where it says none
    chance: float | None = None  # of being chosen; None where it was not asked
    drawn: float | None = None  # the same for the kind of shopper that was drawn


@dataclass(frozen=True)
class Chances:
    """Of all that a shopper may do with a page; they add up to 1."""

    leave: float
    checkout: float
    page: float  # a click, on any slot
    alone: float  # an item found alone


@dataclass(frozen=True)
class LogParts:
    """Log-probability of what happened, in nats, as in `recgym.users.likelihood.LogProb`."""

    choice: float
    after: float
    gap: float  # density of the log of the seconds before the page

    @property
    def total(self) -> float:
        """All factors together."""
        return self.choice + self.after + self.gap


@dataclass(frozen=True)
class Step:
    """One page, what the shopper did with it, and why."""

    number: int  # of the page, from 0
    time_ms: int
    gap: float  # seconds since the page before; 0 on the first
    usual_gap: float  # median of the law that it was drawn from; 0 on the first
    slots: tuple[Item | None, ...]  # None for an empty one
    unshown: tuple[Item, ...]  # of highest score
    finds: tuple[Item, ...]  # likeliest to be found alone, and the one that was
    chances: Chances
    drawn: Chances
    kind: Kind
    viewed: Item | None
    slot: int  # clicked; -1 where none was
    after: After
    follows: tuple[float, ...]  # chance of each `After` once this is viewed; empty without a view
    log_prob: LogParts
    revenue: float  # currency units
    cart: float  # currency units, after the page


@dataclass(frozen=True)
class Session:
    """All steps of one shopper's session under one policy."""

    policy: str
    shop: str
    shopper: int
    seed: int  # of the lane
    start_ms: int
    steps: tuple[Step, ...]
    over: bool  # False where it was cut off at `MAX_PAGES`
    kinds: bool  # whether the shop draws a kind of shopper on each page
    history: History = field(compare=False, repr=False)

    @property
    def revenue(self) -> float:
        """Currency units paid."""
        return sum(step.revenue for step in self.steps)

    @property
    def log_prob(self) -> LogParts:
        """Of the session, in nats."""
        parts = [step.log_prob for step in self.steps]
        return LogParts(
            sum(part.choice for part in parts),
            sum(part.after for part in parts),
            sum(part.gap for part in parts),
        )
