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
    campaign: int | None = None  # that pays for the slot; None where no ad stands


@dataclass(frozen=True)
class Candidate:
    """A campaign that may advertise on a page, the best of the auction first."""

    campaign: int
    item: int
    bid: float  # currency units, paced
    pctr: float  # the platform's estimate of a click in the first slot
    score: float  # of the auction
    slot: int  # that it stands in; -1 for none
    price: float  # currency units for what is paid for; 0 where it stands nowhere


@dataclass(frozen=True)
class Option:
    """A page that the policy of ads could choose."""

    ads: tuple[tuple[int, int | None], ...]  # slot, and the campaign where it is known before
    alpha: float  # exponent of pctr in the auction's score
    reserve: float  # currency units
    payment: float  # currency units that its ads are expected to bring
    score: float | None  # the policy's own; None where it says none
    chosen: bool


@dataclass(frozen=True)
class Ads:
    """What was decided about the ads of a page, and what they brought."""

    candidates: tuple[Candidate, ...]
    options: tuple[Option, ...]  # chosen, without ads, and those of highest score
    event: str  # that is paid for: click, impression or order
    charges: tuple[tuple[int, float], ...]  # campaign and currency units that it paid
    sponsored_sales: float  # currency units of what was paid, credited to ads
    tired: float  # how tired of ads the shopper was before the page
    added: float  # what the page added to it
    trust: float  # in ads, before the page
    load: float  # share of the session's impressions that were ads, with this page

    @property
    def revenue(self) -> float:
        """Currency units that campaigns paid for the page."""
        return sum(paid for _, paid in self.charges)


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
    ads: Ads | None = None  # where a policy of ads decides


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
    has_ads: bool  # whether a policy of ads decides about its pages
    history: History = field(compare=False, repr=False)

    @property
    def revenue(self) -> float:
        """Currency units paid."""
        return sum(step.revenue for step in self.steps)

    @property
    def ad_revenue(self) -> float:
        """Currency units that campaigns paid."""
        return sum(step.ads.revenue for step in self.steps if step.ads)

    @property
    def log_prob(self) -> LogParts:
        """Of the session, in nats."""
        parts = [step.log_prob for step in self.steps]
        return LogParts(
            sum(part.choice for part in parts),
            sum(part.after for part in parts),
            sum(part.gap for part in parts),
        )
