"""The records that every part shares, as frozen dataclasses of tensors.

Dims, once: N lanes · B sessions · T steps · S steps of all sessions · K slots · I items ·
C categories · E item features · P profile features · H hidden · O observation · L remembered
events · R remembered impressions · M cart places · Z latent classes of taste · G segments of
shoppers · D days. Local tensors of two
or more dims end in their letters (``price_NK``).
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum
from typing import NamedTuple, Protocol

import torch
from torch import Tensor

from recgym.lanes import Record, Shared

DAY_MS = 86_400_000  # milliseconds in a day
HOUR_MS = 3_600_000  # milliseconds in an hour


class Kind(IntEnum):
    """What a shopper does with a page: the upper level of the choice."""

    LEAVE = 0
    CHECKOUT = 1  # pays for the whole cart
    VIEW = 2  # of an item on the page, or of one found alone (organic)


class After(IntEnum):
    """What follows a view before the next page; the strongest one counts."""

    NOTHING = 0
    FAVOURITE = 1
    CART = 2
    BUY = 3


class Split(IntEnum):
    """Parts of a log, by the time at which a session starts."""

    TRAIN = 0
    VALID = 1
    TEST = 2
    TEST_NEW = 3  # test period, shoppers never met in training


class Field(NamedTuple):
    """One thing that a site knows of its shoppers; its entries in a profile are neighbours."""

    name: str
    levels: list[str] | None = None  # of a text, one entry each; None: a number
    more: bool = False  # one entry more: of all other levels, or of a number that is missing

    @property
    def num_entries(self) -> int:
        """How many of a profile's numbers are its own."""
        return (1 if self.levels is None else len(self.levels)) + self.more


@dataclass(frozen=True)
class Catalog(Shared):
    """What a site knows of its items. Row i of each tensor is item i."""

    price: Tensor  # [D, I] float, currency units in force on each simulated day; 1 if unknown
    category: Tensor  # [I] int64, in [0, num_categories)
    feature: Tensor  # [I, E] float, what is known of an item never met in training
    start_ms: int  # UTC milliseconds at which day 0 begins
    num_categories: int
    priced: bool = True  # False where the log holds no prices: money is then undefined
    title: Tensor | None = None  # [I, E'] float, vectors of the items' titles, where they are read

    @property
    def num_items(self) -> int:
        """I, the number of items."""
        return self.category.shape[0]

    def price_at(self, time_ms_N: Tensor) -> Tensor:
        """Prices in force at each lane's time, [N, I]."""
        return self.price.index_select(0, self.day(time_ms_N))

    def price_of(self, item_NJ: Tensor, time_ms_N: Tensor) -> Tensor:
        """Prices of these items in force at each lane's time, [N, J]."""
        row_NJ = (self.day(time_ms_N) * self.num_items).unsqueeze(-1) + item_NJ
        return self.price.flatten().index_select(0, row_NJ.flatten()).view(item_NJ.shape)

    def day(self, time_ms_N: Tensor) -> Tensor:
        """Row of ``price`` for each lane's time, [N] int64."""
        day_N = torch.div(time_ms_N - self.start_ms, DAY_MS, rounding_mode="floor")
        return day_N.clamp(0, self.price.shape[0] - 1)


@dataclass(frozen=True)
class Page(Record):
    """What the site shows."""

    item: Tensor  # [N, K] int64, -1 for an empty slot; no item twice
    price: Tensor  # [N, K] float, currency units shown (0 in an empty slot)
    sponsored: Tensor | None = None  # [N, K] bool, an ad stands there; None in a shop without ads
    weight: Tensor | None = None  # [N, K] float, what each slot counts in a fit; None: all alike
    # [N, K] nats by which a slot of a log was likelier than its records foresee; NaN: not known
    told: Tensor | None = None


@dataclass(frozen=True)
class Event(Record):
    """What the shopper does with one page."""

    kind: Tensor  # [N] int64, a Kind
    item: Tensor  # [N] int64, the item viewed; -1 on checkout and leave
    slot: Tensor  # [N] int64, the slot clicked; -1 where the item was found alone
    after: Tensor  # [N] int64, an After; NOTHING unless kind is VIEW
    price: Tensor  # [N] float, price of the item viewed; 0 on checkout and leave
    quantity: Tensor  # [N] float, pieces carted or bought at once; 0 if neither
    gap: Tensor  # [N] float, seconds since the page before; 0 on the first page and on leave


@dataclass(frozen=True)
class Past(Record):
    """What the site counts of a shopper over the sessions of one episode.

    The columns of a tally are pages answered, clicks on them, orders paid, and pages' worth of
    repeats: of each page the share of its items that stood on the last pages.
    """

    sessions: Tensor  # [N] int64, sessions of this episode that are over
    away: Tensor  # [N] float, days since the session before; 0 in the first
    tally: Tensor  # [N, 4] float, of the running session
    before: Tensor  # [N, 4] float, of the sessions that are over


@dataclass(frozen=True)
class Visit(Record):
    """What the site itself knows of a running session: no hidden state enters here."""

    time_ms: Tensor  # [N] int64, UTC milliseconds
    gap: Tensor  # [N] float, seconds since the page before; 0 on the first
    page_number: Tensor  # [N] int64, pages answered so far
    cart_item: Tensor  # [N, M] int64, -1 for a free place
    cart_price: Tensor  # [N, M] float, price x quantity of each place of the cart
    recent_item: Tensor  # [N, R] int64, items of the last pages shown, newest first, -1 if none
    history: Tensor  # [N, 3, L] int64, see the properties below
    history_gap: Tensor  # [N, L] float, seconds before each view
    past: Past | None = None  # None where an episode is one session

    @property
    def history_item(self) -> Tensor:
        """Items viewed, newest first, -1 if none, [N, L] int64."""
        return self.history[:, 0]

    @property
    def history_slot(self) -> Tensor:
        """Slots they were clicked in, -1 if found alone, [N, L] int64."""
        return self.history[:, 1]

    @property
    def history_after(self) -> Tensor:
        """What followed each view, an After, -1 if none, [N, L] int64."""
        return self.history[:, 2]

    def cart_count(self) -> Tensor:
        """Items in the cart, [N] int64."""
        return (self.cart_item >= 0).sum(-1)

    def cart_value(self) -> Tensor:
        """What the cart would cost, [N] currency units."""
        return self.cart_price.sum(-1)


@dataclass(frozen=True)
class ItemTable(Shared):
    """P(item | its category, latent class): made by `recgym.organic.item_table`."""

    category: Tensor  # [I] int64
    share: Tensor  # [I, Z] float, adds up to 1 over the items of a category
    num_categories: int
    open: Tensor  # [C] float, 0 for a category that holds items, -inf for one that does not
    order: Tensor  # [I] int64, items by category
    edge: Tensor  # [Z * I] float64, rising: z * C + category + cumulative share; [0] in a fit


@dataclass(frozen=True)
class Pointers(Record):
    """Single items that a shopper finds beside those of a search: see `recgym.users.pointers`."""

    item: Tensor  # [N, J] int64, -1 for none; one item may stand in several places
    share: Tensor  # [N, J] of all that is found, that each place takes; 0 for none
    rest: Tensor  # [N] share left to the search; all shares add up to 1
    viewed: Tensor  # [N, J] bool, the place is an earlier view, which is come back to


@dataclass(frozen=True)
class Organic(Record):
    """What is found alone: first the category, then the item. See `recgym.organic`."""

    category: Tensor  # [N, C] log-probability
    latent: Tensor  # [N, Z] probability of each latent class
    table: ItemTable
    pointers: Pointers | None = None  # of a shopper who finds single items beside the search


@dataclass(frozen=True)
class Rivalry(Record):
    """Each slot against its organic twin, where a shopper's own taste for both is not known.

    The difference of their log-masses, to those who would find the twin, is normal: that of
    `Response.slot` and `Response.organic` with ``mean`` added, of a standard deviation ``sd``.
    """

    mean: Tensor  # [N, K]
    sd: Tensor  # [N, K]


@dataclass(frozen=True)
class Response(Record):
    """How a shopper would answer a page: all that is needed to draw, or to score, a choice.

    ``slot`` is relative to the organic mass, which is normalised to 1.
    """

    leave: Tensor  # [N] logit, going on = 0 on a page that adds nothing
    checkout: Tensor  # [N] logit, -inf where the cart is empty
    organic: Organic  # which item is found alone
    slot: Tensor  # [N, K] log-mass of each slot, -inf if empty
    page_item: Tensor  # [N, K] int64, the page answered
    page_weight: Tensor  # [] or [N] in [0, 1], weight of the page's added attraction in going on
    dissimilarity: Tensor  # [] or [N, 1] in (0, 1], of an item on the page and its organic twin
    rivalry: Rivalry | None = None  # of slots and twins; None where their masses are known exactly


@dataclass(frozen=True)
class Outcome(Record):
    """What one page brought."""

    event: Event
    page: Page
    impressions: Tensor  # [N] int64, slots that held an item
    clicked: Tensor  # [N] bool, an item of the page was chosen
    carted: Tensor  # [N] bool
    bought: Tensor  # [N] float, orders paid on this page (0 or 1)
    revenue: Tensor  # [N] float, currency units paid
    chosen_revenue: Tensor  # [N] float, E[revenue | state, segment, page, choice]
    expected_revenue: Tensor  # [N] float, E[revenue | state, segment, page]
    credited_revenue: Tensor  # [N] float, of the same mean over an episode as revenue, and steadier
    left: Tensor  # [N] bool, the session ended
    gone: Tensor  # [N] bool, and no other follows: the episode ended
    doubt: Tensor  # [N] float, currency units, 0 in a shop of one mind; see `recgym.users.base`


@dataclass(frozen=True)
class Observation(Record):
    """What a policy may know: the site's own records and the fitted encoder run over them."""

    feature: Tensor  # [N, O] float, the flat observation of the Gymnasium environments
    visit: Visit
    eligible: Tensor  # [N, I] bool, items that may be shown; may be one row, expanded
    encoder: Record | None  # state of the fitted user model, from observable events alone
    arrival: Arrival  # a policy's own noise is a function of its seed and session
    catalog: Catalog

    @property
    def price(self) -> Tensor:
        """Prices in force, [N, I]: made on each call, since few policies need them all."""
        return self.catalog.price_at(self.visit.time_ms)


@dataclass(frozen=True)
class Arrival(Record):
    """Who begins a session, and when: known to the site before the first page."""

    seed: Tensor  # [N] int64, the shopper's own seed (the lane seed)
    session: Tensor  # [N] int64, which of the lane's sessions
    profile: Tensor  # [N, P] float
    start_ms: Tensor  # [N] int64, UTC milliseconds


@dataclass(frozen=True)
class SessionStats(Record):
    """Sums over one session, one row a session: what metrics read.

    Where shoppers come back, a row is a shopper and holds the sums over the sessions of an episode.
    """

    shopper: Tensor  # [B] int64, the lane seed
    pages: Tensor  # [B] pages answered
    views: Tensor  # [B] items viewed
    impressions: Tensor  # [B]
    clicks: Tensor  # [B]
    carts: Tensor  # [B]
    orders: Tensor  # [B]
    revenue: Tensor  # [B] currency units
    credited_revenue: Tensor  # [B] currency units, of the same mean; see `recgym.simulator`
    sessions: Tensor | None = None  # [B] sessions in the row; None: each row is one
    converted: Tensor | None = None  # [B] of them with an order; None: see `orders`


@dataclass(frozen=True)
class Sessions(Record):
    """All sessions of a log, steps one after another: what a fit reads.

    Session b owns steps ``offset[b]`` to ``offset[b + 1]``; its last one is the leave step.
    """

    event: Event  # [S]; slot and gap as in the log, price and quantity each row's own
    page: Page  # [S, K]; K = 0 where the log does not say what was shown
    time_ms: Tensor  # [S] int64, when the page was answered
    offset: Tensor  # [B + 1] int64
    shopper: Tensor  # [B] int64, row of the shopper
    profile: Tensor  # [B, P] float, known before the session begins; P may be 0
    split: Tensor  # [B] int64, a Split


class Policy(Protocol):
    """Anything that can fill a page."""

    def act(self, observation: Observation, *, explore: bool = False) -> Tensor:
        """Items to show, [N, K] int64, -1 for an empty slot."""
        ...
