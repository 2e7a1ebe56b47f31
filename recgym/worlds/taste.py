"""The default true shop: segments and continuous tastes, intents, prices that move, fatigue.

It obeys the protocol of a user model, so everything that runs on one runs on the other. Each knob
is a keyword; the catalogue and the segments are drawn from ``seed``, shoppers from their own seeds.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F  # noqa: N812

from recgym import organic, rng
from recgym.rng import Purpose
from recgym.types import (
    DAY_MS,
    HOUR_MS,
    After,
    Arrival,
    Catalog,
    Event,
    Kind,
    Page,
    Record,
    Response,
    Visit,
)
from recgym.users.base import AfterLogits, Known
from recgym.visit import times_shown, times_shown_of_all

START_MS = 1_704_067_200_000  # 2024-01-01 00:00 UTC, a Monday
INTENTS = ("browse", "compare", "buy")


@dataclass(frozen=True)
class TasteState(Record):
    """A shopper of the true shop; hidden from every site and every learner."""

    organic_taste: Tensor  # [N, F]
    shown_taste: Tensor  # [N, F]
    price_sensitivity: Tensor  # [N] elasticity-like slope on log price
    leave: Tensor  # [N] logit of leaving, this session
    checkout: Tensor  # [N] logit of paying a filled cart, this session
    buying: Tensor  # [N] added to the logits of buy and cart, this session
    focus: Tensor  # [N] weight of the last views in the search for the next
    interest: Tensor  # [N, F] fading mean of the items viewed
    satisfied: Tensor  # [N] 1 after an order


def _normal(generator: torch.Generator, *shape: int) -> Tensor:
    return torch.randn(*shape, generator=generator, dtype=torch.float64)


class TasteShop(Known):
    """A true shop whose shoppers have tastes, intents and a sense of price.

    Args:
        seed: of the catalogue and the segments.
        rho: correlation of the taste for shown items with the taste that drives organic search.
        num_items, num_categories, num_segments, num_factors: sizes; factors span the tastes.
        num_moods: taste prototypes, of which a search within a category follows one at a time.
        mood_sharpness: how surely a shopper's search follows the moods nearest to the own taste.
        category_pull: weight of taste in the choice of the category searched.
        num_days: span of the simulated calendar.
        attention: exponent of the Zipf law of organic attention.
        price_slope: median slope of buying on log price; `price_slope_spread` its log-sd.
        slot: log-mass of an ordinary item in the first slot, relative to all organic items.
        position: loss of log-mass a doubling of the position.
        fatigue: loss of log-mass each time that an item stood on the last pages.
        dissimilarity: in (0, 1], of an item on the page and its organic twin.
        page_weight: in [0, 1], of the page's added attraction in going on.
        intent_share, intent_leave, intent_buying, intent_checkout: one for each of INTENTS.
        promotion_share: item-days on promotion; ``promotion``: log price change on them.
        dtype: of every float.
    """

    quantity = 1.0

    def __init__(
        self,
        *,
        seed: int = 0,
        rho: float = 0.3,
        num_items: int = 300,
        num_categories: int = 12,
        num_segments: int = 6,
        num_factors: int = 8,
        num_moods: int = 16,
        mood_sharpness: float = 0.7,
        category_pull: float = 1.2,
        num_days: int = 56,
        attention: float = 1.05,
        quality: float = 0.5,
        price_slope: float = 3.1,
        price_slope_spread: float = 0.25,
        slot: float = -4.05,
        shown_pull: float = 0.8,
        position: float = 0.35,
        fatigue: float = 0.3,
        dissimilarity: float = 0.6,
        page_weight: float = 0.45,
        intent_share: tuple[float, float, float] = (0.55, 0.30, 0.15),
        intent_leave: tuple[float, float, float] = (-0.2, -2.0, -1.8),
        intent_buying: tuple[float, float, float] = (-1.5, 0.0, 2.4),
        intent_checkout: tuple[float, float, float] = (-4.8, -3.8, -2.3),
        leave_spread: float = 0.6,
        buy: float = -8.55,
        cart: float = -5.35,
        favourite: float = -3.3,
        satisfied_leave: float = 0.8,
        satisfied_buying: float = 0.8,
        promotion_share: float = 0.05,
        promotion: float = -0.22,
        channel_accuracy: float = 0.6,
        device: str = "cpu",
        dtype: torch.dtype = torch.float32,
    ) -> None:
        self.num_days, self.num_segments, self.rho = num_days, num_segments, rho
        self.price_slope, self.price_slope_spread = price_slope, price_slope_spread
        self.shown_pull = shown_pull
        self.fatigue, self.leave_spread = fatigue, leave_spread
        self.satisfied_leave, self.satisfied_buying = satisfied_leave, satisfied_buying
        self.channel_accuracy = channel_accuracy
        self.buy, self.cart, self.favourite = buy, cart, favourite
        self.device, self.dtype = torch.device(device), dtype
        g = torch.Generator().manual_seed(seed)

        def tensor(x: Tensor | tuple[float, ...] | float) -> Tensor:
            return torch.as_tensor(x, dtype=torch.float64).to(self.device, dtype)

        category_I = torch.randint(num_categories, (num_items,), generator=g)
        centre_CF = 0.8 * _normal(g, num_categories, num_factors)
        factor_IF = centre_CF[category_I] + 0.5 * _normal(g, num_items, num_factors)
        factor_IF = factor_IF / num_factors**0.5
        rank_I = torch.randperm(num_items, generator=g) + 1
        fame_I = -attention * rank_I.double().log()
        quality_I = _normal(g, num_items)
        log_price_I = (
            3.2
            + 0.35 * _normal(g, num_categories)[category_I]
            + 0.30 * quality_I
            + 0.30 * _normal(g, num_items)
        )
        fame_z_I = (fame_I - fame_I.mean()) / fame_I.std()
        # what catches the eye when shown agrees with fame only as far as rho says
        appeal_I = 0.6 * (rho * fame_z_I + (1 - rho**2) ** 0.5 * _normal(g, num_items))
        self.factor = tensor(factor_IF)  # [I, F]
        self.fame = tensor(fame_I)  # [I]
        self._search(tensor, factor_IF, fame_I, category_I, num_categories, num_moods, seed)
        self.mood_sharpness, self.category_pull = mood_sharpness, category_pull
        self.appeal_bias = tensor(appeal_I)  # [I]
        self.worth = tensor(quality * quality_I)  # [I]
        self.organic_centre = tensor(1.2 * _normal(g, num_segments, num_factors))
        self.own_centre = tensor(1.2 * _normal(g, num_segments, num_factors))
        self.mean_log_price = float(log_price_I.mean())
        self.slot_bias = tensor(slot - position * torch.arange(1, 65).double().log2())  # [64]
        self.dissimilarity, self.page_weight = tensor(dissimilarity), tensor(page_weight)
        self.intent_cdf_weight = tensor(intent_share)
        self.intent_leave, self.intent_buying = tensor(intent_leave), tensor(intent_buying)
        self.intent_checkout = tensor(intent_checkout)
        self.intent_focus = tensor((0.5, 1.0, 0.8))
        price_DI = _price_path(g, log_price_I, num_days, promotion_share, promotion)
        brand_I = torch.randint(20, (num_items,), generator=g)
        self.brand = brand_I
        one_hot_IC = torch.nn.functional.one_hot(category_I, num_categories)
        relative_I = (log_price_I - log_price_I.mean()) / log_price_I.std()
        self.catalog = Catalog(
            price=tensor(price_DI),
            category=category_I.to(self.device),
            feature=tensor(torch.cat([one_hot_IC.double(), relative_I.unsqueeze(-1)], -1)),
            start_ms=START_MS,
            num_categories=num_categories,
        )

    def _search(
        self,
        tensor: Callable[[Tensor], Tensor],
        factor_IF: Tensor,
        fame_I: Tensor,
        category_I: Tensor,
        num_categories: int,
        num_moods: int,
        seed: int,
    ) -> None:
        """How what is found alone is searched: categories by taste, items by one of the moods."""
        own = torch.Generator().manual_seed(seed + (1 << 32))
        mood_MF = 1.34 * _normal(own, num_moods, factor_IF.shape[1])  # spread as tastes are
        count_C1 = torch.bincount(category_I, minlength=num_categories).clamp(min=1).unsqueeze(-1)
        sum_CF = torch.zeros(num_categories, factor_IF.shape[1], dtype=factor_IF.dtype)
        fame_C = torch.zeros(num_categories, dtype=fame_I.dtype)
        self.category_factor = tensor(sum_CF.index_add(0, category_I, factor_IF) / count_C1)
        self.category_fame = tensor(fame_C.index_add(0, category_I, fame_I.exp()).log())
        self.mood = tensor(mood_MF)
        self.mood_bias = tensor(-0.5 * mood_MF.square().sum(-1))
        self.table = organic.item_table(
            tensor(factor_IF @ mood_MF.T + fame_I.unsqueeze(-1)),
            category_I.to(self.device),
            num_categories,
        )

    def arrive(self, seed_N: Tensor, session_N: Tensor) -> Arrival:
        """Shoppers drawn by seed; the session decides when they come."""
        segment_N, extra_N = self._segment(seed_N)
        key_N = rng.key(seed_N, torch.zeros_like(seed_N), 0, Purpose.SHOPPER)
        u_N2 = rng.uniform(rng.mix(key_N + 1), 2, self.dtype)
        # the channel that a shopper came through: the segment, or a random one
        guess_N = (u_N2[:, 1] * self.num_segments).long()
        channel_N = torch.where(u_N2[:, 0] < self.channel_accuracy, segment_N, guess_N)
        channel_NS = torch.nn.functional.one_hot(channel_N, self.num_segments).to(self.dtype)
        affluence_N1 = (extra_N + rng.normal(rng.mix(key_N + 2), dtype=self.dtype)).unsqueeze(-1)
        start = rng.uniform(rng.key(seed_N, session_N, 0, Purpose.START), 2, torch.float64)
        day_N = (start[:, 0] * self.num_days).floor().long()
        # hours of a shop's day: a wave that peaks at 20 h and has its trough at 8 h
        hour_24 = torch.arange(24, device=self.device, dtype=torch.float64)
        busy_24 = 1.0 + 0.7 * torch.cos((hour_24 - 20) * 2 * torch.pi / 24)
        hour_N = rng.pick(busy_24.expand(len(seed_N), 24), start[:, 1])
        within_N = rng.uniform(
            rng.mix(rng.key(seed_N, session_N, 0, Purpose.START) + 1), dtype=torch.float64
        )
        start_ms_N = START_MS + day_N * DAY_MS + hour_N * HOUR_MS + (within_N * HOUR_MS).long()
        return Arrival(seed_N, session_N, torch.cat([channel_NS, affluence_N1], -1), start_ms_N)

    def _segment(self, seed_N: Tensor) -> tuple[Tensor, Tensor]:
        key_N = rng.key(seed_N, torch.zeros_like(seed_N), 0, Purpose.SHOPPER)
        u_N = rng.uniform(key_N, dtype=self.dtype)
        thrift_N = rng.normal(rng.mix(key_N + 3), dtype=self.dtype)
        return (u_N * self.num_segments).long(), thrift_N

    def init_state(self, arrival: Arrival) -> TasteState:
        """Tastes belong to the shopper, the intent to the session."""
        seed_N = arrival.seed
        segment_N, thrift_N = self._segment(seed_N)
        key_N = rng.key(seed_N, torch.zeros_like(seed_N), 1, Purpose.SHOPPER)
        width = self.factor.shape[1]
        z_N2F = rng.normal(key_N, 2 * width, self.dtype)
        organic_NF = self.organic_centre[segment_N] + 0.6 * z_N2F[:, :width]
        own_NF = self.own_centre[segment_N] + 0.6 * z_N2F[:, width:]
        shown_NF = self.rho * organic_NF + (1 - self.rho**2) ** 0.5 * own_NF
        session_N = rng.key(seed_N, arrival.session, 0, Purpose.SESSION)
        u_N = rng.uniform(session_N, dtype=self.dtype)
        intent_N = rng.pick(self.intent_cdf_weight.expand(len(seed_N), 3), u_N)
        patience_N = rng.normal(rng.mix(session_N + 1), dtype=self.dtype)
        slope_N = self.price_slope * (self.price_slope_spread * thrift_N).exp()
        return TasteState(
            organic_taste=organic_NF,
            shown_taste=shown_NF,
            price_sensitivity=slope_N,
            leave=self.intent_leave[intent_N] + self.leave_spread * patience_N,
            checkout=self.intent_checkout[intent_N],
            buying=self.intent_buying[intent_N],
            focus=self.intent_focus[intent_N],
            interest=torch.zeros_like(organic_NF),
            satisfied=torch.zeros_like(slope_N),
        )

    def read(self, state: TasteState) -> TasteState:
        """The state itself."""
        return state

    def respond(self, state: TasteState, page: Page, visit: Visit) -> Response:
        """Nested logit with fatigue, position and price; see `recgym.choice`."""
        query_NF = state.organic_taste + state.focus.unsqueeze(-1) * state.interest
        category_NC = torch.addmm(
            self.category_fame, query_NF, self.category_factor.T, alpha=self.category_pull
        )
        # a Gaussian around each mood, were all moods as common
        near_NM = self.mood_sharpness * torch.addmm(self.mood_bias, query_NF, self.mood.T)
        return Response(
            leave=state.leave + self.satisfied_leave * state.satisfied,
            checkout=state.checkout + 0.4 * visit.cart_count().to(self.dtype),
            organic=organic.organic(category_NC, near_NM, self.table),
            slot=self._slot(state, page, visit),
            page_item=page.item,
            page_weight=self.page_weight,
            dissimilarity=self.dissimilarity,
        )

    def _slot(self, state: TasteState, page: Page, visit: Visit) -> Tensor:
        item_NK = page.item.clamp(min=0)
        query_NF = self.shown_pull * state.shown_taste + 0.25 * state.interest
        taste_NK = (F.embedding(item_NK, self.factor) * query_NF.unsqueeze(1)).sum(-1)
        taste_NK = taste_NK + self.appeal_bias[item_NK]
        tired_NK = times_shown(page.item, visit.recent_item).to(self.dtype)
        mass_NK = (
            self._mass(state, taste_NK, page.price, tired_NK) + self.slot_bias[: item_NK.shape[1]]
        )
        return mass_NK.masked_fill(page.item < 0, -torch.inf)

    def appeal(self, state: TasteState, visit: Visit, price_NI: Tensor) -> Tensor:
        """Log-mass of each item alone in the first slot."""
        taste_NI = (
            self.shown_pull * state.shown_taste + 0.25 * state.interest
        ) @ self.factor.T + self.appeal_bias
        tired_NI = times_shown_of_all(visit.recent_item, self.catalog.num_items, self.dtype)
        return self._mass(state, taste_NI, price_NI, tired_NI) + self.slot_bias[0]

    def _mass(self, state: TasteState, taste: Tensor, price: Tensor, tired: Tensor) -> Tensor:
        slope_N1 = 0.25 * state.price_sensitivity.unsqueeze(-1)
        dear = price.clamp(min=1e-6).log() - self.mean_log_price
        return taste - slope_N1 * dear - self.fatigue * tired

    def after(
        self,
        state: TasteState,
        item_NJ: Tensor | None,
        price_NJ: Tensor,
        clicked_NJ: Tensor | bool,
    ) -> AfterLogits:
        """Organic taste and quality sell, however found; price deters, by the own slope."""
        if item_NJ is None:
            worth_NJ = 0.7 * state.organic_taste @ self.factor.T + self.worth
        else:
            liked_NJ = (self.factor[item_NJ] * state.organic_taste.unsqueeze(1)).sum(-1)
            worth_NJ = 0.7 * liked_NJ + self.worth[item_NJ]
        dear_NJ = price_NJ.clamp(min=1e-6).log() - self.mean_log_price
        keen_NJ = worth_NJ - state.price_sensitivity.unsqueeze(-1) * dear_NJ
        sated_N = state.buying - self.satisfied_buying * state.satisfied
        keen_NJ = keen_NJ + sated_N.unsqueeze(-1)
        return AfterLogits(self.buy + keen_NJ, self.cart + keen_NJ, self.favourite + 0.5 * worth_NJ)

    def observe(
        self,
        state: TasteState,
        page: Page,
        event: Event,
        visit: Visit,
    ) -> TasteState:
        """Views move the interest, orders satisfy."""
        viewed_N1 = (event.kind == int(Kind.VIEW)).unsqueeze(-1)
        seen_NF = self.factor[event.item.clamp(min=0)]
        interest_NF = 0.6 * state.interest + 0.4 * seen_NF * self.factor.shape[1] ** 0.5
        paid_N = (event.kind == int(Kind.CHECKOUT)) | (event.after == int(After.BUY))
        return dataclasses.replace(
            state,
            interest=torch.where(viewed_N1, interest_NF, state.interest),
            satisfied=state.satisfied.masked_fill(paid_N, 1.0),
        )

    def gap(self, state: TasteState) -> tuple[Tensor, Tensor]:
        """Median 40 s for all; seekers with a focus look longer."""
        return 3.4 + 0.2 * state.focus, torch.ones_like(state.leave[0]) * 1.0


def _price_path(
    g: torch.Generator, log_price_I: Tensor, num_days: int, share: float, promotion: float
) -> Tensor:
    """List prices that change weekly, promotions on random item-days: [D, I] currency units."""
    num_weeks = -(-num_days // 7)
    weekly_WI = 0.08 * _normal(g, num_weeks, len(log_price_I))
    list_DI = log_price_I + weekly_WI.repeat_interleave(7, 0)[:num_days]
    promoted_DI = torch.rand(num_days, len(log_price_I), generator=g) < share
    return (list_DI + promotion * promoted_DI).exp().mul(100).round().div(100)
