"""The family of true shops: tastes, intents, prices that move, fatigue, and what its knobs add.

It obeys the protocol of a user model, so everything that runs on one runs on the other. What it
draws once lies in `recgym.worlds.catalogue`, its knobs in `recgym.worlds.knobs`, and what no user
model assumes in `recgym.worlds.beyond`. A knob that is off costs no arithmetic.
"""

from __future__ import annotations

import dataclasses
import math
from typing import Any

import torch
from torch import Tensor

from recgym import organic
from recgym.lanes import rows
from recgym.types import After, Arrival, Event, Kind, Organic, Page, Response, Visit
from recgym.users.base import AfterLogits, Known, Return
from recgym.visit import times_shown, times_shown_of_all
from recgym.worlds import beyond, loyalty
from recgym.worlds.arrivals import arrivals
from recgym.worlds.catalogue import draw_catalogue
from recgym.worlds.knobs import Knobs
from recgym.worlds.shopper import TasteState, begin, intents

CARTED_PAID = 0.25  # of carted items, where a shop without carts sells them at once


class TasteShop(Known):
    """A true shop whose shoppers have tastes, intents and a sense of price.

    Args:
        device: of all tensors.
        dtype: of every float.
        knobs: those of `recgym.worlds.knobs.Knobs`, by name; the others keep their defaults. The
            catalogue and the segments are drawn from ``seed``, shoppers from their own seeds.
    """

    quantity = 1.0

    def __init__(
        self, *, device: str = "cpu", dtype: torch.dtype = torch.float32, **knobs: Any
    ) -> None:
        given = Knobs.of(**knobs)
        self.knobs = given if given.long_term else given.myopic()
        self.device, self.dtype = torch.device(device), dtype
        self.goods = draw_catalogue(self.knobs, self.device, dtype)
        self.catalog, self.brand, self.fame = self.goods.site, self.goods.brand, self.goods.fame
        self.factor = self.goods.factor
        self.page_law = beyond.page_laws(self.knobs, self.device, dtype)
        self.appeal_WI, self.category_fame_WC = self.goods.appeal, self.goods.category_fame
        if self.knobs.drift:
            self.appeal_WI = beyond.walk(self.knobs, self.goods.appeal, 4)
            self.category_fame_WC = beyond.walk(self.knobs, self.goods.category_fame, 5)
        self.kind_C = loyalty.kinds(self.knobs, self.device, dtype)
        self.intents = intents(self.knobs, self.device, dtype)
        buy, cart = self.knobs.buy, self.knobs.cart
        if not self.knobs.long_term:
            buy, cart = math.log(math.exp(buy) + CARTED_PAID * math.exp(cart)), -math.inf
        self.buy_level, self.cart_level = buy, cart

    @property
    def logger_sees(self) -> float:
        """Weight of the hidden taste in the scores of the shop's own logging policy."""
        return self.knobs.logger_sees

    @property
    def returns(self) -> bool:
        """Whether anybody comes back after a session."""
        return self.knobs.returns

    def arrive(self, seed_N: Tensor, session_N: Tensor) -> Arrival:
        """Shoppers drawn by seed; the session decides when they come."""
        return arrivals(seed_N, session_N, self.knobs, self.dtype)

    def init_state(self, arrival: Arrival) -> TasteState:
        """Tastes belong to the shopper, the intent to the session."""
        return begin(arrival, self.knobs, self.goods, self.intents)

    def read(self, state: TasteState) -> TasteState:
        """The state itself."""
        return state

    def respond(self, state: TasteState, page: Page, visit: Visit) -> Response:
        """Nested logit with fatigue, position and price; see `recgym.choice`."""
        found, law, row = self._found(state, visit), self.page_law, state.segment
        leave_N = state.leave + self.knobs.satisfied_leave * state.satisfied
        if state.sated is not None and self.knobs.boredom_leave:
            again_N = (state.sated.amax(-1) - 1.0).clamp(min=0.0)
            leave_N = leave_N + self.knobs.boredom_leave * again_N
        if self.knobs.redundant:
            log_twin_NK = organic.log_prob(found, page.item.clamp(min=0))
            slot_NK = log_twin_NK.masked_fill(page.item < 0, -torch.inf)
        else:
            slot_NK = self._slot(state, page, visit)
        return Response(
            leave=leave_N,
            checkout=state.checkout + 0.4 * visit.cart_count().to(self.dtype),
            organic=found,
            slot=slot_NK,
            page_item=page.item,
            page_weight=law.page_weight[0] if row is None else law.page_weight[row],
            dissimilarity=law.dissimilarity[0]
            if row is None
            else law.dissimilarity[row].unsqueeze(-1),
        )

    def _found(self, state: TasteState, visit: Visit) -> Organic:
        """What is found alone: categories by taste, items by one of the moods."""
        goods, fame_NC = self.goods, self.category_fame_WC
        if self.knobs.drift:
            fame_NC = fame_NC[beyond.week_of(visit.time_ms, self.knobs.num_days)]
        if state.sated is not None:
            fame_NC = fame_NC - self.knobs.boredom * state.sated
        query_NF = state.organic_taste + state.focus.unsqueeze(-1) * state.interest
        category_NC = torch.addmm(
            fame_NC, query_NF, goods.category_factor.T, alpha=self.knobs.category_pull
        )
        # a Gaussian around each mood, were all moods as common
        near_NM = self.knobs.mood_sharpness * torch.addmm(goods.mood_bias, query_NF, goods.mood.T)
        return organic.organic(category_NC, near_NM, goods.table)

    def _shown_query(self, state: TasteState) -> Tensor:
        pull: float | Tensor = self.knobs.shown_pull
        if state.segment is not None:
            pull = self.page_law.shown_pull[state.segment].unsqueeze(-1)
        return pull * state.shown_taste + self.knobs.shown_interest * state.interest

    def _slot(self, state: TasteState, page: Page, visit: Visit) -> Tensor:
        item_NK, num_slots = page.item.clamp(min=0), page.item.shape[1]
        factor_NKF = rows(self.factor, item_NK)
        taste_NK = (factor_NKF * self._shown_query(state).unsqueeze(1)).sum(-1)
        if self.knobs.drift:
            week_N1 = beyond.week_of(visit.time_ms, self.knobs.num_days).unsqueeze(-1)
            taste_NK = taste_NK + self.appeal_WI[week_N1, item_NK]
        else:
            taste_NK = taste_NK + self.appeal_WI[item_NK]
        if state.sated is not None:
            sated_NK = state.sated.gather(-1, self.catalog.category[item_NK])
            taste_NK = taste_NK - self.knobs.boredom * sated_NK
        if self.knobs.similarity or self.knobs.decoy:
            category_NK, worth_NK = self.catalog.category[item_NK], self.goods.worth[item_NK]
            taste_NK = taste_NK + beyond.context(
                self.knobs, page, factor_NKF, category_NK, worth_NK
            )
        tired_NK = times_shown(page.item, visit.recent_item).to(self.dtype)
        mass_NK = self._mass(state, taste_NK, page.price, tired_NK)
        row = 0 if state.segment is None else state.segment
        mass_NK = mass_NK + self.page_law.slot[row, :num_slots]
        return mass_NK.masked_fill(page.item < 0, -torch.inf)

    def liking(self, state: TasteState) -> Tensor:
        """Hidden taste for each item when shown, apart from price and slot, [N, I]."""
        return self._shown_query(state) @ self.factor.T + self.goods.appeal

    def appeal(self, state: TasteState, visit: Visit, price_NI: Tensor) -> Tensor:
        """Log-mass of each item alone in the first slot."""
        if self.knobs.redundant:
            found_NI = organic.probabilities(self._found(state, visit))
            return found_NI.clamp(min=torch.finfo(self.dtype).tiny).log()
        appeal_NI = self.appeal_WI
        if self.knobs.drift:
            appeal_NI = appeal_NI[beyond.week_of(visit.time_ms, self.knobs.num_days)]
        taste_NI = self._shown_query(state) @ self.factor.T + appeal_NI
        if state.sated is not None:
            taste_NI = taste_NI - self.knobs.boredom * state.sated[:, self.catalog.category]
        tired_NI = times_shown_of_all(visit.recent_item, self.catalog.num_items, self.dtype)
        first = self.page_law.slot[0, 0]
        if state.segment is not None:
            first = self.page_law.slot[state.segment, :1]
        return self._mass(state, taste_NI, price_NI, tired_NI) + first

    def _mass(self, state: TasteState, taste: Tensor, price: Tensor, tired: Tensor) -> Tensor:
        slope_N1 = 0.25 * state.price_sensitivity.unsqueeze(-1)
        log_price = price.clamp(min=1e-6).log()
        mass = taste - slope_N1 * (log_price - self.goods.mean_log_price)
        if state.reference is not None:
            mass = mass - 0.25 * self._sticker_shock(state.reference, log_price)
        return mass - self.knobs.fatigue * tired

    def _sticker_shock(self, reference_N: Tensor, log_price: Tensor) -> Tensor:
        dear = beyond.against_reference(
            log_price, reference_N.unsqueeze(-1), self.knobs.loss_aversion
        )
        return self.knobs.reference * dear

    def after(
        self,
        state: TasteState,
        item_NJ: Tensor | None,
        price_NJ: Tensor,
        clicked_NJ: Tensor | bool,
    ) -> AfterLogits:
        """Organic taste and quality sell, however found; price deters, by the own slope."""
        if item_NJ is None:
            worth_NJ = 0.7 * state.organic_taste @ self.factor.T + self.goods.worth
        else:
            liked_NJ = (self.factor[item_NJ] * state.organic_taste.unsqueeze(1)).sum(-1)
            worth_NJ = 0.7 * liked_NJ + self.goods.worth[item_NJ]
        log_price_NJ = price_NJ.clamp(min=1e-6).log()
        dear_NJ = log_price_NJ - self.goods.mean_log_price
        keen_NJ = worth_NJ - state.price_sensitivity.unsqueeze(-1) * dear_NJ
        if state.reference is not None:
            keen_NJ = keen_NJ - self._sticker_shock(state.reference, log_price_NJ)
        sated_N = state.buying - self.knobs.satisfied_buying * state.satisfied
        keen_NJ = keen_NJ + sated_N.unsqueeze(-1)
        favourite_NJ = self.knobs.favourite + 0.5 * worth_NJ
        return AfterLogits(self.buy_level + keen_NJ, self.cart_level + keen_NJ, favourite_NJ)

    def observe(
        self,
        state: TasteState,
        page: Page,
        event: Event,
        visit: Visit,
    ) -> TasteState:
        """Views move the interest, orders satisfy, repeats bore and prices seen become usual."""
        if not self.knobs.long_term:
            return state
        viewed_N1 = (event.kind == int(Kind.VIEW)).unsqueeze(-1)
        item_N = event.item.clamp(min=0)
        seen_NF = self.factor[item_N]
        interest_NF = 0.6 * state.interest + 0.4 * seen_NF * self.factor.shape[1] ** 0.5
        paid_N = (event.kind == int(Kind.CHECKOUT)) | (event.after == int(After.BUY))
        sated, reference, knobs = state.sated, state.reference, self.knobs
        if sated is not None:
            category_N = self.catalog.category[item_N]
            sated = beyond.next_sated(sated, category_N, viewed_N1, knobs.boredom_memory)
        if reference is not None:
            reference = beyond.next_reference(reference, page, event, knobs.reference_memory)
        content = state.content
        if content is not None:
            clicked_N = self.kind_C[self.catalog.category[item_N]]
            like_N = loyalty.page_like(knobs, clicked_N, page, event, visit.recent_item)
            content = loyalty.next_content(knobs, content, like_N, event)
        return dataclasses.replace(
            state,
            interest=torch.where(viewed_N1, interest_NF, state.interest),
            satisfied=state.satisfied.masked_fill(paid_N, 1.0),
            sated=sated,
            reference=reference,
            content=content,
        )

    def returning(self, state: TasteState, visit: Visit) -> Return:
        """By contentment; see `recgym.worlds.loyalty`."""
        assert state.content is not None
        return loyalty.return_law(self.knobs, state.content)

    def again(self, state: TasteState, arrival: Arrival) -> TasteState:
        """A new intent; what was viewed, prices seen and contentment are the shopper's."""
        return dataclasses.replace(
            self.init_state(arrival),
            interest=state.interest,
            reference=state.reference,
            content=state.content,
        )

    def gap(self, state: TasteState) -> tuple[Tensor, Tensor]:
        """Median 40 s for all; seekers with a focus look longer."""
        return 3.4 + 0.2 * state.focus, torch.ones_like(state.leave[0]) * 1.0
