"""Shops for the tests: one small enough to compute by hand, and an untrained user model."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass

import torch
from torch import Tensor

from recgym import organic, rng
from recgym.lanes import Record
from recgym.rng import Purpose
from recgym.types import DAY_MS, Arrival, Catalog, Event, Kind, Organic, Page, Response, Visit
from recgym.users.base import AfterLogits, Known
from recgym.users.lstm import LSTMUserModel
from recgym.users.tastes import NUM_TASTES, Belief
from recgym.worlds.taste import TasteShop

FOUND = (0.4, 0.3, 0.2, 0.1)  # probability of finding each item alone
PRICE = (10.0, 20.0, 30.0, 40.0)  # on day 0; 10 % more on day 1
APPEAL = 0.2  # mass of an item in a slot, relative to all organic items
START_MS = 1_700_000_000_000


def found_alone(found: tuple[float, ...], category_I: Tensor, dtype: torch.dtype) -> Organic:
    """One lane that finds each item with these probabilities: one latent class, any category."""
    found_I = torch.tensor(found, dtype=dtype)
    num_categories = int(category_I.max()) + 1
    table = organic.item_table(found_I.log().unsqueeze(-1), category_I, num_categories)
    share_C = torch.zeros(num_categories, dtype=dtype).index_add(0, category_I, found_I)
    return organic.organic(share_C.log().unsqueeze(0), torch.zeros(1, 1, dtype=dtype), table)


def lanes_of(found: Organic, lanes: int) -> Organic:
    """The same law in each of so many lanes."""
    return dataclasses.replace(
        found,
        category=found.category.expand(lanes, -1),
        latent=found.latent.expand(lanes, -1),
    )


@dataclass(frozen=True)
class ProbeState(Record):
    """All that these shoppers remember."""

    views: Tensor  # [N] views so far: each makes leaving likelier


class ProbeShop(Known):
    """Buys with probability 10 / (10 + price); else carts with the same one; else favours by 1/2.

    From the second page on leaving has the logit views / 2 - 1, paying a filled cart 0.
    """

    quantity = 1.0

    def __init__(self, *, appeal: float = APPEAL, dtype: torch.dtype = torch.float32) -> None:
        price_I = torch.tensor(PRICE, dtype=dtype)
        self.catalog = Catalog(
            price=torch.stack([price_I, 1.1 * price_I]),
            category=torch.tensor([0, 0, 1, 1]),
            feature=torch.eye(4, dtype=dtype)[:, :2],
            start_ms=START_MS,
            num_categories=2,
        )
        self.found = found_alone(FOUND, self.catalog.category, dtype)
        self.log_appeal = torch.tensor(appeal, dtype=dtype).log()
        self.page_weight = torch.ones((), dtype=dtype)
        self.dissimilarity = torch.tensor(0.5, dtype=dtype)

    def arrive(self, seed_N: Tensor, session_N: Tensor) -> Arrival:
        key_N = rng.key(seed_N, session_N, 0, Purpose.START)
        profile_N1 = (seed_N % 2).to(self.catalog.price).unsqueeze(-1)
        start_N = START_MS + (rng.uniform(key_N, dtype=torch.float64) * 2 * DAY_MS).long()
        return Arrival(seed_N, session_N, profile_N1, start_N)

    def init_state(self, arrival: Arrival) -> ProbeState:
        return ProbeState(torch.zeros_like(arrival.profile[:, 0]))

    def read(self, state: ProbeState) -> ProbeState:
        return state

    def respond(self, state: ProbeState, page: Page, visit: Visit) -> Response:
        slot_NK = torch.where(page.item >= 0, self.log_appeal, -torch.inf)
        return Response(
            leave=state.views / 2 - 1,
            checkout=torch.zeros_like(state.views),
            organic=lanes_of(self.found, len(state.views)),
            slot=slot_NK,
            page_item=page.item,
            page_weight=self.page_weight,
            dissimilarity=self.dissimilarity,
        )

    def appeal(self, state: ProbeState, visit: Visit, price_NI: Tensor) -> Tensor:
        return self.log_appeal.expand_as(price_NI)

    def after(
        self,
        state: ProbeState,
        item_NJ: Tensor | None,
        price_NJ: Tensor,
        clicked_NJ: Tensor | bool,
    ) -> AfterLogits:
        cheap_NJ = -(price_NJ / 10.0).clamp(min=1e-6).log()
        return AfterLogits(cheap_NJ, cheap_NJ, torch.zeros_like(cheap_NJ))

    def observe(
        self,
        state: ProbeState,
        page: Page,
        event: Event,
        visit: Visit,
    ) -> ProbeState:
        return ProbeState(state.views + (event.kind == int(Kind.VIEW)).to(state.views))

    def gap(self, state: ProbeState) -> tuple[Tensor, Tensor]:
        return torch.full_like(state.views, 3.0), torch.ones_like(self.page_weight)


# What one page brings that shows item 3 alone at APPEAL, dissimilarity 1/2 and price 40:
# its nest has mass (0.1**2 + 0.2**2) ** 0.5 = 0.2236068, of which 0.1236068 is added, and its
# twin keeps 0.1 * (0.1 / 0.2236068) = 0.0447214 of its mass of 0.1.
ADDED = 0.1236068
KEPT = 0.4472136
CLICK = 0.1592064  # (0.1236068 + 0.1 * (1 - 0.4472136)) / 1.1236068
# sum of P(view) * 10 / (10 + price) * price: (0.4 * 5 + 0.3 * 20/3 + 0.2 * 7.5
#   + 0.0447214 * 8 + 0.1788854 * 8) / 1.1236068, currency units
EXPECTED_REVENUE = 6.4870152


class TwoFeatures(TasteShop):
    """The true shop, of whose profile the site knows two features, as many as the model reads."""

    def arrive(self, seed_N: Tensor, session_N: Tensor) -> Arrival:
        arrival = super().arrive(seed_N, session_N)
        return dataclasses.replace(arrival, profile=arrival.profile[:, :2])


def some_belief(count: int, generator: torch.Generator) -> Belief:
    """Of tastes, as different as any: precisions of at least 1 in every direction."""
    size = (count, NUM_TASTES)
    mean_NV, passed_NV = torch.randn(2, *size, generator=generator, dtype=torch.float64)
    learned_NVW = torch.randn(*size, 3, generator=generator, dtype=torch.float64)
    eye_VV = torch.eye(NUM_TASTES, dtype=torch.float64)
    precision_NVV = eye_VV + learned_NVW @ learned_NVW.mT
    return Belief(mean_NV, passed_NV, precision_NVV, torch.linalg.inv(precision_NVV))


def learned_shop(dtype: torch.dtype = torch.float32, num_items: int = 40) -> LSTMUserModel:
    """An untrained model of a small shop, its parameters away from their symmetric start."""
    catalog = TasteShop(num_items=num_items).catalog
    torch.manual_seed(0)
    start = catalog.start_ms + torch.arange(50) * 3_600_000
    known_I, profile_NP = torch.ones(num_items, dtype=torch.bool), torch.randn(50, 2)
    model = LSTMUserModel(catalog, known_I, profile_NP, start)
    for parameter in model.parameters():
        parameter.data += 0.1 * torch.randn(parameter.shape)
    with torch.no_grad():
        model.heads.of("level")[1][1] -= 2.0  # buying at once stays rarer than carting
    model.project()
    return model.to(dtype).eval()
