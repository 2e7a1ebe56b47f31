"""The simulator: one page and one choice a step, for all lanes at once.

Pure functions over frozen records; a true shop and a learned one run through the same lines.
No draw depends on another lane, on the batch size or on what was drawn before.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from recgym import choice, rng, visit
from recgym.rng import Purpose
from recgym.types import (
    After,
    Arrival,
    Event,
    Kind,
    Outcome,
    Page,
    Record,
    Response,
    Visit,
)
from recgym.users.base import Shoppers, after_log_probs

SESSION_GAP_S = 1800.0  # seconds of silence that end a session, as in cleaning
MIN_GAP_S = 1.0


@dataclass(frozen=True)
class SimState(Record):
    """All that a running lane is."""

    arrival: Arrival
    visit: Visit
    user: Record  # the shopper's own state: hidden from every policy
    encoder: Record | None  # the fitted user model's state, moved by observable events alone


class Simulator:
    """Shoppers of one shop answering pages; holds parameters, never state.

    Args:
        shop: true shop or user model.
        encoder: fitted user model that reads the observable events for the policies; None for
            policies that do without. Where it is the shop itself, its state is computed once.
        num_slots: K, slots of a page.
        expected_revenue: whether to fill `Outcome.expected_revenue` (else it repeats
            `chosen_revenue`); it needs every item's probability of being bought.
        dtype: of every float; in float64 lanes are equal for any number of lanes.
    """

    def __init__(
        self,
        shop: Shoppers,
        *,
        encoder: Shoppers | None = None,
        num_slots: int = 10,
        expected_revenue: bool = True,
        dtype: torch.dtype = torch.float32,
    ) -> None:
        self.shop = shop
        self.catalog = shop.catalog
        self.encoder = encoder
        self.num_slots = num_slots
        self.expected_revenue = expected_revenue
        self.dtype = dtype

    @torch.no_grad()
    def reset(self, seed_N: Tensor, session_N: Tensor) -> SimState:
        """Each lane's shopper before the first page of the given session."""
        arrival = self.shop.arrive(seed_N, session_N)
        user = self.shop.init_state(arrival)
        encoder = None
        if self.encoder is not None:
            same = self.encoder is self.shop
            encoder = user if same else self.encoder.init_state(arrival)
        begun = visit.begin(arrival.start_ms, self.num_slots, self.dtype)
        return SimState(arrival, begun, user, encoder)

    def page(self, state: SimState, item_NK: Tensor) -> Page:
        """A policy's items with the prices in force; a repeated item leaves its slot empty."""
        same_NKK = item_NK.unsqueeze(-1) == item_NK.unsqueeze(-2)
        repeated_NK = torch.tril(same_NKK, -1).any(-1)
        item_NK = torch.where(repeated_NK, torch.full_like(item_NK, -1), item_NK)
        day_N1 = self.catalog.day(state.visit.time_ms).unsqueeze(-1)
        price_NK = self.catalog.price[day_N1, item_NK.clamp(min=0)]
        return Page(item_NK, torch.where(item_NK >= 0, price_NK, torch.zeros_like(price_NK)))

    @torch.no_grad()
    def step(self, state: SimState, page: Page) -> tuple[SimState, Outcome]:
        """What the shoppers do with a page, and their state after it."""
        now, arrival = state.visit, state.arrival
        response = self.shop.respond(state.user, page, now)
        response = choice.admissible(response, now.page_number, now.cart_count())
        kind_N, item_N, slot_N = choice.sample(response, self._choice_draws(state))
        price_N = self._chosen_price(state, page, item_N, slot_N)
        after_N, buy_N = self._after(state, item_N, price_N, slot_N)
        after_N = torch.where(kind_N == int(Kind.VIEW), after_N, torch.zeros_like(after_N))
        quantity_N = (after_N >= int(After.CART)).to(self.dtype) * self.shop.quantity
        event = Event(kind_N, item_N, slot_N, after_N, price_N, quantity_N, now.gap)

        user = self.shop.observe(state.user, response, page, event, now)
        encoder = self._encode(state, user, page, event)
        gap_N = self._gap(user, state)
        after_visit = visit.advance(now, page, event, gap_N)
        outcome = self._outcome(state, page, event, response, buy_N)
        return SimState(arrival, after_visit, user, encoder), outcome

    def _encode(self, state: SimState, user: Record, page: Page, event: Event) -> Record | None:
        """The encoder's next state; where it is the shop itself, that is ``user``."""
        if self.encoder is None or state.encoder is None:
            return None
        if self.encoder is self.shop:
            return user
        now = state.visit
        response = self.encoder.respond(state.encoder, page, now)
        response = choice.admissible(response, now.page_number, now.cart_count())
        return self.encoder.observe(state.encoder, response, page, event, now)

    def _key(self, state: SimState, purpose: Purpose) -> Tensor:
        return rng.key(state.arrival.seed, state.arrival.session, state.visit.page_number, purpose)

    def _uniform(self, state: SimState, purpose: Purpose) -> Tensor:
        return rng.uniform(self._key(state, purpose), dtype=self.dtype)

    def _choice_draws(self, state: SimState) -> choice.Draws:
        return choice.Draws(
            upper=self._uniform(state, Purpose.UPPER),
            from_page=self._uniform(state, Purpose.FROM_PAGE),
            organic=self._uniform(state, Purpose.ORGANIC),
            take_over=self._uniform(state, Purpose.TAKE_OVER),
            slot=self._uniform(state, Purpose.SLOT),
        )

    def _chosen_price(self, state: SimState, page: Page, item_N: Tensor, slot_N: Tensor) -> Tensor:
        day_N = self.catalog.day(state.visit.time_ms)
        price_N = self.catalog.price[day_N, item_N.clamp(min=0)]
        if self.num_slots > 0:
            shown_N = page.price.gather(-1, slot_N.clamp(min=0).unsqueeze(-1)).squeeze(-1)
            price_N = torch.where(slot_N >= 0, shown_N, price_N)
        return torch.where(item_N >= 0, price_N, torch.zeros_like(price_N))

    def _after(
        self, state: SimState, item_N: Tensor, price_N: Tensor, slot_N: Tensor
    ) -> tuple[Tensor, Tensor]:
        """What follows the view [N], and the probability that it is buying [N]."""
        item_N1, price_N1 = item_N.clamp(min=0).unsqueeze(-1), price_N.unsqueeze(-1)
        logits = self.shop.after(state.user, item_N1, price_N1, (slot_N >= 0).unsqueeze(-1))
        full_N1 = state.visit.cart_item[:, -1:] >= 0
        never = torch.full_like(logits.cart, -torch.inf)
        logits = logits._replace(cart=torch.where(full_N1, never, logits.cart))
        probability_N4 = after_log_probs(logits).squeeze(1).exp()
        # the strongest first, so that a small change of the page moves few edges
        after_N = int(After.BUY) - rng.pick(
            probability_N4.flip(-1), self._uniform(state, Purpose.AFTER)
        )
        return after_N, probability_N4[:, After.BUY]

    def _gap(self, user: Record, state: SimState) -> Tensor:
        mean_N, std = self.shop.gap(user)
        z_N = rng.normal(self._key(state, Purpose.GAP), dtype=self.dtype)
        return (mean_N + std * z_N).exp().clamp(MIN_GAP_S, SESSION_GAP_S - 1.0)

    def _outcome(
        self, state: SimState, page: Page, event: Event, response: Response, buy_N: Tensor
    ) -> Outcome:
        zero_N = torch.zeros_like(event.price)
        cart_value_N = state.visit.cart_value()
        bought_N, paid_N = event.after == int(After.BUY), event.kind == int(Kind.CHECKOUT)
        value_N = event.price * self.shop.quantity
        checkout_N = torch.where(paid_N, cart_value_N, zero_N)
        chosen_N = checkout_N + torch.where(event.kind == int(Kind.VIEW), buy_N * value_N, zero_N)
        expected_N = chosen_N
        if self.expected_revenue:
            expected_N = self._expected_revenue(state, page, response)
        return Outcome(
            event=event,
            page=page,
            impressions=(page.item >= 0).sum(-1),
            clicked=event.slot >= 0,
            carted=event.after == int(After.CART),
            bought=(bought_N | paid_N).to(self.dtype),
            revenue=checkout_N + torch.where(bought_N, value_N, zero_N),
            chosen_revenue=chosen_N,
            expected_revenue=expected_N,
            left=event.kind == int(Kind.LEAVE),
        )

    def _expected_revenue(self, state: SimState, page: Page, response: Response) -> Tensor:
        """E[revenue | state, page] over choice and after, [N]; the sum over all items."""
        probability = choice.probabilities(response)
        price_NI = self.catalog.price_at(state.visit.time_ms)
        buy_NI = torch.sigmoid(self.shop.after(state.user, None, price_NI, False).buy)
        found_N = (probability.organic * buy_NI * price_NI).sum(-1)
        shown = self.shop.after(state.user, page.item.clamp(min=0), page.price, True)
        clicked_N = (probability.slot * torch.sigmoid(shown.buy) * page.price).sum(-1)
        paid_N = probability.checkout * state.visit.cart_value()
        return (found_N + clicked_N) * self.shop.quantity + paid_N
