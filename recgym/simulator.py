"""The simulator: one page and one choice a step, for all lanes at once.

Pure functions over frozen records; a true shop and a learned one run through the same lines.
No draw depends on another lane, on the batch size or on what was drawn before.

Money is counted twice. `Outcome.revenue` is what is paid. `Outcome.credited_revenue` has the same
mean over an episode and less noise, and is what policies are valued by: a share c of a cart's value
V is credited when it is filled, and settled when it is paid or left. With the potential c V added,
which is 0 before the first page and after the last, a page brings r + c (V' - V); of that, buying,
carting, paying and leaving count by their chances (Ross 2013, "Simulation", section 9.2 on control
variates and 9.3 on conditioning). Any c gives the same mean.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from recgym import choice, rng, visit
from recgym.errors import UserError
from recgym.lanes import Record, put, where
from recgym.rng import Purpose
from recgym.types import DAY_MS, After, Arrival, Event, Kind, Outcome, Page, Visit
from recgym.users.base import Doubting, Returning, Shoppers, follow, state_within

SESSION_GAP_S = 1800.0  # seconds of silence that end a session, as in cleaning
MIN_GAP_S = 1.0
CART_CREDIT = 0.6  # c above; of 0.15 to 1, least noise in values and differences alike
MIN_AWAY_DAYS = 1.0 / 24.0  # a session that followed at once would be the same one to a log
DRAWN = (
    Purpose.UPPER,
    Purpose.FROM_PAGE,
    Purpose.CATEGORY,
    Purpose.LATENT,
    Purpose.ORGANIC,
    Purpose.TAKE_OVER,
    Purpose.SLOT,
    Purpose.AFTER,
    Purpose.SEGMENT,
    Purpose.GAP,
)  # on each page, all at once; the first seven in the order of `choice.Draws`


@dataclass(frozen=True)
class SimState(Record):
    """All that a running lane is."""

    arrival: Arrival
    noise: Tensor  # [N] int64, the session's part of each key of `recgym.rng`
    visit: Visit
    user: Record  # the shopper's own state: hidden from every policy
    encoder: Record | None  # the fitted user model's state, moved by observable events alone


class Simulator:
    """Shoppers of one shop answering pages; holds parameters, never state.

    Args:
        shop: true shop or user model.
        encoder: fitted user model that reads the observable events for the policies; None for
            policies that do without. Where it is the shop itself, or the shop that this one wraps,
            its state is computed once.
        num_slots: K, slots of a page.
        num_sessions: of an episode at most; after all but the last the shop draws whether and when
            the shopper comes back, without a page in between.
        expected_revenue: whether to fill `Outcome.expected_revenue` (else it repeats
            `chosen_revenue`); it needs every item's probability of being bought, and steadies a
            reward, not the value of a policy.
        doubt: whether to fill `Outcome.doubt` (else it is 0); the shop has to be an ensemble.
        dtype: of every float; in float64 lanes are equal for any number of lanes.
    """

    def __init__(
        self,
        shop: Shoppers,
        *,
        encoder: Shoppers | None = None,
        num_slots: int = 10,
        num_sessions: int = 1,
        expected_revenue: bool = False,
        doubt: bool = False,
        dtype: torch.dtype = torch.float32,
    ) -> None:
        self.shop = shop
        self.catalog = shop.catalog
        self.encoder = encoder
        self._shared = state_within(shop, encoder)
        self.num_slots, self.num_sessions = num_slots, num_sessions
        self._returning = _returning(shop, num_sessions)
        self.expected_revenue, self.doubt = expected_revenue, doubt
        self.dtype = dtype
        # on the device from the start: a copy from the host would make each step wait
        device = self.catalog.category.device
        self._drawn_P1 = torch.tensor(DRAWN, device=device).unsqueeze(-1)
        self._above_KK = torch.ones(num_slots, num_slots, dtype=torch.bool, device=device).tril(-1)

    @torch.no_grad()
    def reset(self, seed_N: Tensor, session_N: Tensor) -> SimState:
        """Each lane's shopper before the first page of the given session."""
        arrival = self.shop.arrive(seed_N, session_N)
        user = self.shop.init_state(arrival)
        encoder = self._begin_encoder(user, arrival)
        begun = visit.begin(
            arrival.start_ms, self.num_slots, self.dtype, returning=self.num_sessions > 1
        )
        noise_N = rng.session_key(arrival.seed, arrival.session)
        return SimState(arrival, noise_N, begun, user, encoder)

    def next_episode(self, session_N: Tensor) -> Tensor:
        """The session that a lane's next episode begins with, [N] int64.

        Episode e begins with session ``e * num_sessions``, however many the last one came to, so
        that two policies meet the same shoppers in all of a lane's episodes.
        """
        if self.num_sessions == 1:
            return session_N + 1
        episode_N = torch.div(session_N, self.num_sessions, rounding_mode="floor")
        return (episode_N + 1) * self.num_sessions

    def renew(self, state: SimState, ended_N: Tensor) -> SimState:
        """The state with the shopper's next episode in the lanes that ended.

        A CPU begins only those anew. A GPU, and a compiled program, begin one in every lane and
        keep what is needed: how many lanes ended is not known without waiting for them.
        """
        arrival = state.arrival
        if ended_N.is_cuda or torch.compiler.is_compiling():
            begun = self.reset(arrival.seed, self.next_episode(arrival.session))
            return where(ended_N, begun, state)
        index_F = ended_N.nonzero().squeeze(-1)
        begun = self.reset(arrival.seed[index_F], self.next_episode(arrival.session[index_F]))
        return put(state, index_F, begun)

    def page(self, state: SimState, item_NK: Tensor) -> Page:
        """A policy's items with the prices in force; a repeated item leaves its slot empty."""
        count, same_NKK = item_NK.shape[1], item_NK.unsqueeze(-1) == item_NK.unsqueeze(-2)
        item_NK = item_NK.masked_fill((same_NKK & self._above_KK[:count, :count]).any(-1), -1)
        price_NK = self.catalog.price_of(item_NK.clamp(min=0), state.visit.time_ms)
        return Page(item_NK, price_NK.masked_fill(item_NK < 0, 0.0))

    @torch.no_grad()
    def step(self, state: SimState, page: Page) -> tuple[SimState, Outcome]:
        """What the shoppers do with a page, and their state after it.

        A shopper who leaves and comes back stands before the first page of the next session.
        """
        now, shop = state.visit, self.shop
        key_PN = rng.page_keys(state.noise, now.page_number, self._drawn_P1)
        *levels, u_after_N, u_segment_N = rng.uniform(key_PN[:-1], dtype=self.dtype).unbind(0)
        reading = shop.read(state.user)
        supposed = shop.facing(shop.suppose(reading, u_segment_N), page, now)
        law = choice.law(shop.respond(supposed, page, now), now)
        kind_N, item_N, slot_N = choice.sample(law, choice.Draws(*levels))
        price_N = self._chosen_price(state, page, item_N, slot_N)
        after_N4 = follow(shop, supposed, item_N, price_N, slot_N).exp()
        after_N = self._draw_after(after_N4, now, kind_N, u_after_N)
        quantity_N = (after_N >= int(After.CART)).to(self.dtype) * shop.quantity
        event = Event(kind_N, item_N, slot_N, after_N, price_N, quantity_N, now.gap)

        user = shop.observe(reading, page, event, now)
        encoder = self._encode(state, user, page, event)
        gap_N = self._gap(user, key_PN[-1])
        after_visit = visit.advance(now, page, event, gap_N)
        outcome = self._outcome(now, page, event, law, supposed, after_N4)
        if self.doubt:
            assert isinstance(shop, Doubting)
            outcome = replace(outcome, doubt=shop.doubt(reading, page, event, now))
        following = SimState(state.arrival, state.noise, after_visit, user, encoder)
        if self.num_sessions == 1:
            return following, outcome
        following, back_N = self._come_back(following, outcome.left)
        gone_N = outcome.left & ~back_N
        credited_N = outcome.credited_revenue - CART_CREDIT * now.cart_value() * gone_N
        return following, replace(outcome, gone=gone_N, credited_revenue=credited_N)

    def _come_back(self, state: SimState, left_N: Tensor) -> tuple[SimState, Tensor]:
        """The state with the next session of those who come back after this one, and who does.

        As in `renew`, a CPU begins only those sessions.
        """
        assert self._returning is not None and state.visit.past is not None
        law = self._returning.returning(state.user, state.visit)
        # on no page's key: whoever comes back does so at the same draw, however long the session
        key_N = rng.page_keys(state.noise, 0, int(Purpose.RETURN))
        stays_N = rng.uniform(key_N, dtype=self.dtype) < torch.sigmoid(law.logit)
        more_N = state.visit.past.sessions < self.num_sessions - 1
        back_N = left_N & more_N & stays_N
        z_N = rng.normal(rng.mix(key_N + 1), dtype=self.dtype)
        away_N = (law.mean + law.std * z_N).exp().clamp(min=MIN_AWAY_DAYS)
        if back_N.is_cuda or torch.compiler.is_compiling():
            return where(back_N, self._again(state, away_N), state), back_N
        index_F = back_N.nonzero().squeeze(-1)
        return put(state, index_F, self._again(state.lanes(index_F), away_N[index_F])), back_N

    def _again(self, state: SimState, away_N: Tensor) -> SimState:
        """Each lane's next session, so many days after this one."""
        assert self._returning is not None
        start_N = state.visit.time_ms + (away_N.double() * DAY_MS).to(torch.int64)
        arrival = replace(state.arrival, session=state.arrival.session + 1, start_ms=start_N)
        user = self._returning.again(state.user, arrival)
        encoder = self._begin_encoder(user, arrival)
        begun = visit.again(state.visit, start_N, away_N)
        noise_N = rng.session_key(arrival.seed, arrival.session)
        return SimState(arrival, noise_N, begun, user, encoder)

    def _begin_encoder(self, user: Record, arrival: Arrival) -> Record | None:
        """The encoder's state before the first page; where the shop computed it, the shop's."""
        if self.encoder is None:
            return None
        return self._shared(user) if self._shared else self.encoder.init_state(arrival)

    def _encode(self, state: SimState, user: Record, page: Page, event: Event) -> Record | None:
        """The encoder's next state; where the shop computed it, the shop's."""
        if self.encoder is None or state.encoder is None:
            return None
        if self._shared:
            return self._shared(user)
        return self.encoder.observe(self.encoder.read(state.encoder), page, event, state.visit)

    def _chosen_price(self, state: SimState, page: Page, item_N: Tensor, slot_N: Tensor) -> Tensor:
        found_N1 = self.catalog.price_of(item_N.clamp(min=0).unsqueeze(-1), state.visit.time_ms)
        price_N = found_N1.squeeze(-1)
        if self.num_slots > 0:
            shown_N = page.price.gather(-1, slot_N.clamp(min=0).unsqueeze(-1)).squeeze(-1)
            price_N = torch.where(slot_N >= 0, shown_N, price_N)
        return price_N.masked_fill(item_N < 0, 0.0)

    def _draw_after(self, after_N4: Tensor, now: Visit, kind_N: Tensor, u_N: Tensor) -> Tensor:
        """What follows the view, [N]; a full cart takes no more."""
        # the strongest first, so that a small change of the page moves few edges
        after_N = int(After.BUY) - rng.pick(after_N4.flip(-1), u_N)
        too_much_N = (after_N == int(After.CART)) & (now.cart_item[:, -1] >= 0)
        return after_N.masked_fill(too_much_N | (kind_N != int(Kind.VIEW)), int(After.NOTHING))

    def _gap(self, user: Record, key_N: Tensor) -> Tensor:
        mean_N, std = self.shop.gap(user)
        z_N = rng.normal(key_N, dtype=self.dtype)
        return (mean_N + std * z_N).exp().clamp(MIN_GAP_S, SESSION_GAP_S - 1.0)

    def _outcome(
        self,
        now: Visit,
        page: Page,
        event: Event,
        law: choice.Law,
        supposed: Any,
        after_N4: Tensor,
    ) -> Outcome:
        bought_N, paid_N = event.after == int(After.BUY), event.kind == int(Kind.CHECKOUT)
        value_N = event.price * self.shop.quantity  # 0 unless an item was viewed
        checkout_N = now.cart_value() * paid_N
        bought_value_N = after_N4[:, int(After.BUY)] * value_N
        chosen_N = checkout_N + bought_value_N
        expected_N = chosen_N
        if self.expected_revenue:
            expected_N = self._expected_revenue(now, page, law, supposed)
        return Outcome(
            event=event,
            page=page,
            impressions=(page.item >= 0).sum(-1),
            clicked=event.slot >= 0,
            carted=event.after == int(After.CART),
            bought=(bought_N | paid_N).to(self.dtype),
            revenue=checkout_N + value_N * bought_N,
            chosen_revenue=chosen_N,
            expected_revenue=expected_N,
            credited_revenue=bought_value_N + self._credit(now, law, after_N4, value_N),
            left=event.kind == int(Kind.LEAVE),
            gone=event.kind == int(Kind.LEAVE),
            doubt=torch.zeros_like(value_N),
        )

    def _credit(self, now: Visit, law: choice.Law, after_N4: Tensor, value_N: Tensor) -> Tensor:
        """What a page adds to the credit of carts, and what paying and leaving settle, [N]."""
        upper_N3, cart_N = law.upper.exp(), now.cart_value()
        room_N = now.cart_item[:, -1] < 0
        filled_N = after_N4[:, int(After.CART)] * value_N * room_N
        paid_N = (1.0 - CART_CREDIT) * upper_N3[:, int(Kind.CHECKOUT)] * cart_N
        if self.num_sessions > 1:  # whether who leaves comes back to the cart is drawn in `step`
            return CART_CREDIT * filled_N + paid_N
        lost_N = upper_N3[:, int(Kind.LEAVE)] * cart_N
        return CART_CREDIT * (filled_N - lost_N) + paid_N

    def _expected_revenue(self, now: Visit, page: Page, law: choice.Law, supposed: Any) -> Tensor:
        """E[revenue | state, segment, page] over choice and after, [N]; the sum over all items."""
        probability = choice.probabilities(law)
        price_NI = self.catalog.price_at(now.time_ms)
        buy_NI = torch.sigmoid(self.shop.after(supposed, None, price_NI, False).buy)
        found_N = (probability.organic * buy_NI * price_NI).sum(-1)
        shown = self.shop.after(supposed, page.item.clamp(min=0), page.price, True)
        clicked_N = (probability.slot * torch.sigmoid(shown.buy) * page.price).sum(-1)
        paid_N = probability.checkout * now.cart_value()
        return (found_N + clicked_N) * self.shop.quantity + paid_N


def _returning(shop: Shoppers, num_sessions: int) -> Returning | None:
    """The shop as one whose shoppers come back; None where an episode is one session."""
    if num_sessions < 1:
        raise UserError(f"num_sessions={num_sessions}: expected at least 1.")
    if num_sessions == 1:
        return None
    if isinstance(shop, Returning) and shop.returns:
        return shop
    raise UserError(
        f"num_sessions={num_sessions}: nobody comes back to this {type(shop).__name__}; use "
        "num_sessions=1, or a shop whose shoppers do, such as shop='world:loyal'."
    )
