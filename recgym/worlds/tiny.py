"""A true shop so small that its best policy can be computed: see `recgym.worlds.exact`.

Shoppers of a few kinds, which the profile tells, and one bit of memory: who has bought is
satisfied, buys less and leaves sooner. So selling a cheap item now costs the dear one later, and
the best page for this moment is not the best page. All is bought at once: there are no carts, no
favourites and no fatigue, and prices do not move, or the states would be too many. The last page of
a session is the one that every shopper leaves on.
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass

import torch
from torch import Tensor

from recgym import organic, rng
from recgym.errors import UserError
from recgym.lanes import Record
from recgym.rng import Purpose
from recgym.types import DAY_MS, HOUR_MS, After, Arrival, Catalog, Event, Page, Response, Visit
from recgym.users.base import AfterLogits, Known

START_MS = 1_704_110_400_000  # 2024-01-01 12:00 UTC: one hour for all, as no taste depends on it
NUM_DAYS = 28  # over which sessions begin
NUM_CATEGORIES = 4
CERTAIN = 1e4  # a logit whose probability is 1, and of its negative 0, in float32 too
REDUNDANT_DISSIMILARITY = 0.02  # at 0 an item shown adds nothing; the arithmetic needs more


@dataclass(frozen=True)
class TinyState(Record):
    """A shopper of the tiny shop; a site sees both in the profile and in the orders."""

    kind: Tensor  # [N] int64, in [0, num_kinds)
    satisfied: Tensor  # [N] 1 after an order


class TinyShop(Known):
    """A true shop with finitely many states: kinds of shoppers, a bit, and the page number.

    Args:
        seed: of the catalogue and of the kinds' tastes.
        num_items: I.
        num_pages: of a session at most; on the last one every shopper leaves.
        kind_share: share of each kind of shopper.
        redundant: whether pages hold only what would be found anyway: items appeal as much as they
            are found alone, `page_weight` is 0 and `dissimilarity` REDUNDANT_DISSIMILARITY,
            whatever they are set to.
        page_weight: in [0, 1], of the page's added attraction in going on.
        dissimilarity: in (0, 1], of an item on the page and its organic twin.
        slot: mean log-mass of an item in the first slot, relative to all organic items.
        position: loss of log-mass a doubling of the position.
        leave: logit of leaving from the second page on.
        buy: mean logit of buying an item of the middle price.
        price_slope: of buying on log price; ``price_spread``: standard deviation of log prices.
        taste: standard deviation of a kind's tastes, in logits.
        satisfied_leave: added to the logit of leaving after an order.
        satisfied_buying: taken from the logit of buying after an order.
        gap_spread: standard deviation of log seconds between pages.
        dtype: of every float.
    """

    quantity = 1.0

    def __init__(
        self,
        *,
        seed: int = 0,
        num_items: int = 20,
        num_pages: int = 5,
        kind_share: tuple[float, ...] = (0.5, 0.3, 0.2),
        redundant: bool = False,
        page_weight: float = 0.5,
        dissimilarity: float = 0.5,
        slot: float = -1.5,
        position: float = 0.3,
        leave: float = -2.0,
        buy: float = -0.5,
        price_slope: float = 2.0,
        price_spread: float = 0.6,
        taste: float = 0.7,
        satisfied_leave: float = 4.0,
        satisfied_buying: float = 4.0,
        gap_spread: float = 0.5,
        device: str = "cpu",
        dtype: torch.dtype = torch.float32,
    ) -> None:
        if num_items < NUM_CATEGORIES or num_pages < 2:
            raise UserError(
                f"num_items={num_items}, num_pages={num_pages}: a tiny shop needs at least "
                f"{NUM_CATEGORIES} items and 2 pages."
            )
        self.num_pages, self.num_kinds = num_pages, len(kind_share)
        self.leave, self.satisfied_leave = leave, satisfied_leave
        self.satisfied_buying, self.price_slope = satisfied_buying, price_slope
        self.gap_spread, self.device, self.dtype = gap_spread, torch.device(device), dtype
        g = torch.Generator().manual_seed(seed)

        def tensor(x: Tensor | tuple[float, ...] | float) -> Tensor:
            return torch.as_tensor(x, dtype=torch.float64).to(self.device, dtype)

        def tastes() -> Tensor:
            return taste * torch.randn(self.num_kinds, num_items, generator=g, dtype=torch.float64)

        fame_I = -0.7 * (torch.randperm(num_items, generator=g) + 1.0).double().log()
        log_price_I = 3.0 + price_spread * torch.randn(num_items, generator=g).double()
        found_ZI = (fame_I + tastes()).log_softmax(-1)
        appeal_ZI = found_ZI if redundant else slot + tastes()
        self.kind_share = tensor(kind_share)
        self.fame = tensor(found_ZI.exp().mean(0).log())  # [I]
        self.brand = torch.zeros(num_items, dtype=torch.int64)
        self.appeal_ZI = tensor(appeal_ZI)
        self.buy_ZI = tensor(buy + tastes())
        self.mean_log_price = float(log_price_I.mean())
        self.slot_bias = tensor(-position * torch.arange(1, 65).double().log2())  # [64]
        self.page_weight = tensor(0.0 if redundant else page_weight)
        self.dissimilarity = tensor(REDUNDANT_DISSIMILARITY if redundant else dissimilarity)
        category_I = torch.arange(num_items) % NUM_CATEGORIES
        self._search(tensor(found_ZI), category_I.to(self.device))
        self.catalog = _catalog(tensor(log_price_I), category_I.to(self.device))

    def _search(self, found_ZI: Tensor, category_I: Tensor) -> None:
        """What each kind finds alone; every kind is a latent class of its own."""
        self.table = organic.item_table(found_ZI.T, category_I, NUM_CATEGORIES)
        mass_ZC = found_ZI.new_zeros(self.num_kinds, NUM_CATEGORIES)
        self.category_ZC = mass_ZC.index_add(1, category_I, found_ZI.exp()).log()
        one_hot_ZZ = torch.eye(self.num_kinds, device=self.device, dtype=self.dtype)
        self.latent_ZZ = CERTAIN * (one_hot_ZZ - 1.0)

    def arrive(self, seed_N: Tensor, session_N: Tensor) -> Arrival:
        """The kind belongs to the shopper; sessions begin at noon, each on another day."""
        kind_N = self._kind(seed_N)
        key_N = rng.key(seed_N, torch.zeros_like(seed_N), 0, Purpose.START)
        day_N = (rng.uniform(key_N, dtype=torch.float64) * NUM_DAYS).long() + session_N
        profile_NP = torch.nn.functional.one_hot(kind_N, self.num_kinds).to(self.dtype)
        return Arrival(seed_N, session_N, profile_NP, START_MS + day_N % NUM_DAYS * DAY_MS)

    def everyone(self) -> tuple[Arrival, Tensor]:
        """One shopper of each kind, and the share of each, [N]."""
        profile_NP = torch.eye(self.num_kinds, device=self.device, dtype=self.dtype)
        zero_N = torch.zeros(self.num_kinds, dtype=torch.int64, device=self.device)
        share_N = self.kind_share / self.kind_share.sum()
        return Arrival(zero_N, zero_N, profile_NP, zero_N + START_MS), share_N

    def _kind(self, seed_N: Tensor) -> Tensor:
        key_N = rng.key(seed_N, torch.zeros_like(seed_N), 0, Purpose.SHOPPER)
        share_NZ = self.kind_share.expand(len(seed_N), -1)
        return rng.pick(share_NZ, rng.uniform(key_N, dtype=self.dtype))

    def init_state(self, arrival: Arrival) -> TinyState:
        """The kind is what the profile says, so that a state follows from what a site knows."""
        kind_N = arrival.profile.argmax(-1)
        return TinyState(kind_N, arrival.profile.new_zeros(len(kind_N)))

    def read(self, state: TinyState) -> TinyState:
        """The state itself."""
        return state

    def respond(self, state: TinyState, page: Page, visit: Visit) -> Response:
        """Nested logit, see `recgym.choice`; leaving is certain on the last page."""
        leave_N = self.leave + self.satisfied_leave * state.satisfied
        over_N = visit.page_number >= self.num_pages - 1
        item_NK = page.item.clamp(min=0)
        slot_NK = self.appeal_ZI[state.kind.unsqueeze(-1), item_NK]
        slot_NK = slot_NK + self.slot_bias[: item_NK.shape[1]]
        return Response(
            leave=leave_N.masked_fill(over_N, CERTAIN),
            checkout=torch.zeros_like(leave_N),
            organic=organic.organic(
                self.category_ZC[state.kind], self.latent_ZZ[state.kind], self.table
            ),
            slot=slot_NK.masked_fill(page.item < 0, -torch.inf),
            page_item=page.item,
            page_weight=self.page_weight,
            dissimilarity=self.dissimilarity,
        )

    def appeal(self, state: TinyState, visit: Visit, price_NI: Tensor) -> Tensor:
        """Log-mass of each item alone in the first slot."""
        return self.appeal_ZI[state.kind] + self.slot_bias[0]

    def after(
        self,
        state: TinyState,
        item_NJ: Tensor | None,
        price_NJ: Tensor,
        clicked_NJ: Tensor | bool,
    ) -> AfterLogits:
        """Bought at once or not at all, however found."""
        kind_N1 = state.kind.unsqueeze(-1)
        worth_NJ = self.buy_ZI[state.kind] if item_NJ is None else self.buy_ZI[kind_N1, item_NJ]
        dear_NJ = price_NJ.clamp(min=1e-6).log() - self.mean_log_price
        sated_N1 = (self.satisfied_buying * state.satisfied).unsqueeze(-1)
        buy_NJ = worth_NJ - self.price_slope * dear_NJ - sated_N1
        never_NJ = torch.full_like(buy_NJ, -CERTAIN)
        return AfterLogits(buy_NJ, never_NJ, never_NJ)

    def observe(self, state: TinyState, page: Page, event: Event, visit: Visit) -> TinyState:
        """Orders satisfy."""
        bought_N = event.after == int(After.BUY)
        return dataclasses.replace(state, satisfied=state.satisfied.masked_fill(bought_N, 1.0))

    def gap(self, state: TinyState) -> tuple[Tensor, Tensor]:
        """Median 20 s for all."""
        return torch.full_like(state.satisfied, 3.0), torch.ones_like(
            self.page_weight
        ) * self.gap_spread


def _catalog(log_price_I: Tensor, category_I: Tensor) -> Catalog:
    """One day's prices for ever; a site knows categories and how dear an item is."""
    one_hot_IC = torch.nn.functional.one_hot(category_I, NUM_CATEGORIES).to(log_price_I)
    relative_I1 = ((log_price_I - log_price_I.mean()) / log_price_I.std()).unsqueeze(-1)
    return Catalog(
        price=log_price_I.exp().mul(100).round().div(100).unsqueeze(0),
        category=category_I,
        feature=torch.cat([one_hot_IC, relative_I1], -1),
        start_ms=START_MS - 12 * HOUR_MS,
        num_categories=NUM_CATEGORIES,
    )
