"""All that can happen in short sessions, enumerated: the exact worth of a policy, with no draws.

For a true shop and a learned one alike: the verbs and `choice.probabilities` are those that the
simulator calls, and the law of a page is the mean of those over the segments that a shopper may
belong to. Of the factors only the gap is continuous; it is integrated by Gauss-Hermite quadrature,
and where no state depends on it, one node is exact.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from recgym import choice, rng, visit
from recgym.lanes import Record
from recgym.simulator import MIN_GAP_S, SESSION_GAP_S, SimState, Simulator
from recgym.spaces import ObservationSpec
from recgym.types import DAY_MS, After, Arrival, Event, Kind, Page, Policy, Visit
from recgym.users.base import Shoppers, after_log_probs, by_segment

CHUNK = 512  # sessions expanded at once, each into hundreds
LAST = 32  # times as many that are not expanded any more


@dataclass(frozen=True)
class Options(Record):
    """All that can be viewed on a page, J = I + K: the items found alone, then the slots."""

    chance: Tensor  # [N, J, 4] probability of viewing it and of what follows, ordered as `After`
    checkout: Tensor  # [N] probability of paying the cart
    item: Tensor  # [N, J] int64
    slot: Tensor  # [N, J] int64, -1 where found alone
    price: Tensor  # [N, J] currency units

    def stays(self) -> Tensor:
        """Probability of not leaving, [N]."""
        return self.chance.sum((1, 2)) + self.checkout


@dataclass(frozen=True)
class Branches(Record):
    """What shoppers may do with a page short of leaving, one row each; M rows for N shoppers."""

    parent: Tensor  # [M] int64, row of the shopper
    chance: Tensor  # [M] probability, given the page
    event: Event  # [M]


@dataclass(frozen=True)
class Worth:
    """What a policy brings a session, in expectation."""

    revenue: float  # currency units
    orders: float
    orders_anyway: float  # were each page empty in the very states that the policy leads to
    open: float  # probability of sessions that the enumeration left unfinished


def begin(simulator: Simulator, arrival: Arrival) -> SimState:
    """These very shoppers before their first page."""
    encoder = simulator.encoder
    return SimState(
        arrival,
        rng.session_key(arrival.seed, arrival.session),
        visit.begin(arrival.start_ms, simulator.num_slots, simulator.dtype),
        simulator.shop.init_state(arrival),
        None if encoder is None else encoder.init_state(arrival),
    )


def options(shop: Shoppers, reading: Any, page: Page, now: Visit) -> Options:
    """The page's views, with prices and with what follows them."""
    price_NI = shop.catalog.price_at(now.time_ms)
    item_NK = page.item.clamp(min=0)
    chance_NJ4, checkout_N = torch.zeros(2).to(price_NI)
    for share_N1, supposed in by_segment(shop, reading, page, now):
        chosen = choice.probabilities(choice.law(shop.respond(supposed, page, now), now))
        found_NI4 = after_log_probs(shop.after(supposed, None, price_NI, False)).exp()
        shown_NK4 = after_log_probs(shop.after(supposed, item_NK, page.price, True)).exp()
        # what is taken over is subtracted, so rounding may leave less than nothing
        viewed_NJ = torch.cat([chosen.organic, chosen.slot], -1).clamp(min=0.0)
        after_NJ4 = torch.cat([found_NI4, shown_NK4], 1)
        chance_NJ4 = chance_NJ4 + (share_N1 * viewed_NJ).unsqueeze(-1) * after_NJ4
        checkout_N = checkout_N + share_N1.squeeze(-1) * chosen.checkout
    item_NI = torch.arange(price_NI.shape[1], device=item_NK.device).expand_as(price_NI)
    slot_NK = torch.arange(item_NK.shape[1], device=item_NK.device).expand_as(item_NK)
    return Options(
        chance=chance_NJ4,
        checkout=checkout_N,
        item=torch.cat([item_NI, item_NK], -1),
        slot=torch.cat([torch.full_like(item_NI, -1), slot_NK], -1),
        price=torch.cat([price_NI, page.price], -1),
    )


def worth(shop: Shoppers, on_page: Options, now: Visit) -> tuple[Tensor, Tensor]:
    """Expected revenue and orders of one page, each [N]."""
    buy_NJ = on_page.chance[..., int(After.BUY)]
    sold_N = (buy_NJ * on_page.price).sum(-1) * shop.quantity
    return sold_N + on_page.checkout * now.cart_value(), buy_NJ.sum(-1) + on_page.checkout


def branches(shop: Shoppers, on_page: Options, now: Visit, least_N: Tensor) -> Branches:
    """Every continuation whose probability is above ``least_N``; of leaving there is none.

    The likeliest one is always there, and all that are stand for those left out: else the future of
    sessions would be missing, and more of it the more there is to choose from on the page.
    """
    chance_NJ4 = on_page.chance
    likeliest_N = torch.maximum(chance_NJ4.amax((1, 2)), on_page.checkout)
    # never what cannot happen
    least_N = torch.minimum(least_N, likeliest_N * (1.0 - 1e-6)).clamp(min=0.0)
    n_M, j_M, after_M = (chance_NJ4 > least_N.view(-1, 1, 1)).nonzero(as_tuple=True)
    paid_L = (on_page.checkout > least_N).nonzero().squeeze(-1)
    carted_M = (after_M >= int(After.CART)).to(chance_NJ4.dtype)

    def joined(viewed_M: Tensor, paid: float) -> Tensor:
        shape = (len(paid_L), *viewed_M.shape[1:])
        return torch.cat([viewed_M, viewed_M.new_full(shape, paid)])

    parent_M = torch.cat([n_M, paid_L])
    event = Event(
        kind=joined(torch.full_like(n_M, int(Kind.VIEW)), int(Kind.CHECKOUT)),
        item=joined(on_page.item[n_M, j_M], -1),
        slot=joined(on_page.slot[n_M, j_M], -1),
        after=joined(after_M, int(After.NOTHING)),
        price=joined(on_page.price[n_M, j_M], 0.0),
        quantity=joined(carted_M * shop.quantity, 0.0),
        gap=now.gap[parent_M],
    )
    chance_M = torch.cat([chance_NJ4[n_M, j_M, after_M], on_page.checkout[paid_L]])
    there_N = torch.zeros_like(on_page.checkout).index_add(0, parent_M, chance_M)
    return Branches(
        parent=parent_M,
        chance=chance_M * (on_page.stays() / there_N)[parent_M],
        event=event,
    )


class Tree:
    """Sessions of one shop as trees of all that can happen.

    Args:
        spec: observations, and through ``spec.simulator`` the shop.
        max_pages: pages of a session that are enumerated.
        gap_nodes: of the quadrature over the time to the next page.
        least: branches less likely than this are not followed; their likelier siblings stand for
            them.
    """

    def __init__(
        self, spec: ObservationSpec, *, max_pages: int, gap_nodes: int = 1, least: float = 0.0
    ) -> None:
        self.spec, self.simulator = spec, spec.simulator
        self.max_pages, self.least = max_pages, least
        node_G, weight_G = np.polynomial.hermite_e.hermegauss(gap_nodes)
        like = spec.catalog.price
        self.node_G = torch.as_tensor(node_G, device=like.device, dtype=like.dtype)
        self.weight_G = torch.as_tensor(weight_G / weight_G.sum()).to(self.node_G)

    @torch.no_grad()
    def worth(self, policy: Policy, arrival: Arrival, weight_N: Tensor) -> Worth:
        """Of a policy whose pages are a function of the observation, noise of its own aside.

        ``weight_N`` are the probabilities of the shoppers in ``arrival``.
        """
        state = begin(self.simulator, arrival)
        sums_4 = torch.zeros(4, dtype=torch.float64, device=weight_N.device)
        self._walk(policy, state, weight_N, 0, sums_4)
        return Worth(*sums_4.tolist())

    def _walk(
        self, policy: Policy, state: SimState, weight_N: Tensor, number: int, sums_4: Tensor
    ) -> None:
        """Add the parts of a `Worth`, from page ``number`` on, depth first."""
        last = number + 1 == self.max_pages
        chunk = CHUNK * LAST if last else CHUNK
        for part_N in torch.arange(len(weight_N), device=weight_N.device).split(chunk):
            here, weight_n = state.lanes(part_N), weight_N[part_N]
            shop, now = self.simulator.shop, here.visit
            page = self.simulator.page(here, policy.act(self.spec.observe(here)))
            reading = shop.read(here.user)
            on_page = options(shop, reading, page, now)
            anyway_n = self._orders_anyway(reading, now)
            for place, value_n in enumerate((*worth(shop, on_page, now), anyway_n)):
                sums_4[place] += (weight_n * value_n).double().sum()
            going_on = (weight_n * on_page.stays()).double().sum()
            if last:
                sums_4[3] += going_on
                continue
            branch = branches(shop, on_page, now, self.least / weight_n)
            chance_M = weight_n[branch.parent] * branch.chance
            sums_4[3] += going_on - chance_M.double().sum()
            after = self._after(here, reading, page, branch)
            chance_M = (chance_M.unsqueeze(-1) * self.weight_G).flatten()
            self._walk(policy, after, chance_M, number + 1, sums_4)

    def _orders_anyway(self, reading: Any, now: Visit) -> Tensor:
        """Expected orders [N] on an empty page."""
        shop = self.simulator.shop
        empty = Page(now.recent_item[:, :0], now.cart_price[:, :0])
        return worth(shop, options(shop, reading, empty, now), now)[1]

    def _after(self, state: SimState, reading: Any, page: Page, branch: Branches) -> SimState:
        """The states after each branch and each node of its gap, [M * G]."""
        parent_M, event, shop = branch.parent, branch.event, self.simulator.shop
        page_M, before = page.lanes(parent_M), state.lanes(parent_M)
        now = before.visit
        user = shop.observe(reading.lanes(parent_M), page_M, event, now)
        encoder = self._encoded(before, user, page_M, event)
        mean_M, std = shop.gap(user)
        count = len(self.node_G)
        row = torch.arange(len(parent_M), device=parent_M.device).repeat_interleave(count)
        log_gap = mean_M[row] + std * self.node_G.repeat(len(parent_M))
        gap = log_gap.exp().clamp(MIN_GAP_S, SESSION_GAP_S - 1.0)
        seen = visit.advance(now.lanes(row), page_M.lanes(row), event.lanes(row), gap)
        return SimState(
            before.arrival.lanes(row),
            before.noise[row],
            seen,
            user.lanes(row),
            None if encoder is None else encoder.lanes(row),
        )

    def _encoded(self, state: SimState, user: Record, page: Page, event: Event) -> Record | None:
        """The encoder's next state, from the event alone."""
        encoder = self.simulator.encoder
        if encoder is None or encoder is self.simulator.shop:
            return None if encoder is None else user
        return encoder.observe(encoder.read(state.encoder), page, event, state.visit)


def alike(arrival: Arrival) -> tuple[Arrival, Tensor]:
    """One of each kind of these shoppers, and the share of each kind, [N].

    Shoppers are alike who begin with one profile at one hour of the day, in a shop whose prices do
    not move.
    """
    hour_B1 = (arrival.start_ms % DAY_MS).double().unsqueeze(-1)
    known_BP = torch.cat([arrival.profile.double(), hour_B1], -1)
    first_N, kind_B = first_of_each(known_BP)
    return arrival.lanes(first_N), torch.bincount(kind_B).to(arrival.profile) / len(kind_B)


def first_of_each(row_BF: Tensor) -> tuple[Tensor, Tensor]:
    """First row of each kind of equal rows [N], and the kind of each row [B]."""
    kinds_NF, kind_B = row_BF.unique(dim=0, return_inverse=True)
    row_B = torch.arange(len(row_BF), device=row_BF.device)
    first_N = torch.full((len(kinds_NF),), len(row_BF), device=row_BF.device)
    return first_N.scatter_reduce(0, kind_B, row_B, "amin"), kind_B
