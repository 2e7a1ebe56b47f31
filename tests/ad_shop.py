"""A shop with ads so even that what each load earns is a short sum: see `worth`."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import torch
from probe_shop import START_MS, ProbeShop, found_alone
from torch import Tensor

from recgym.ads.records import AdTransition
from recgym.ads.tasks import Task
from recgym.envs.ads import AdCore, open_ad_core
from recgym.types import DAY_MS, Arrival, Catalog, Page, Response, Visit
from recgym.users.ad_law import AdLaw
from recgym.users.base import AfterLogits, Return

SLOTS, ITEMS, CAMPAIGNS = 3, 9, 6  # a page holds the first three items, campaigns have the others
MASS = 0.5  # of each slot beside all organic items
LEAVE, BUY = -4.0, -1.0  # logits of leaving, from the second page on, and of buying what is viewed
HURRIED = -2.5  # the first of shoppers whose visits are short, and who come back
IMPATIENT = {
    "preset": "strong",
    "memory": 0.5,
    "leave": 1.0,
    "back": 1.0,
}  # a law under which costs follow soon
PRICE, TAKE, BID = 10.0, 0.1, 2.0  # currency units; the platform's share; of a click
LOADS = ((), (1,), (2,), (1, 2))  # slots of each option


class EvenShop(ProbeShop):
    """All items alike; shoppers leave by a constant logit, and come back by another."""

    returns = True

    def __init__(self, leave: float) -> None:
        super().__init__(appeal=MASS)
        self.leave = leave
        self.catalog = Catalog(
            price=torch.full((1, ITEMS), PRICE),
            category=torch.zeros(ITEMS, dtype=torch.int64),
            feature=torch.zeros(ITEMS, 1),
            start_ms=START_MS,
            num_categories=1,
        )
        self.found = found_alone((1 / ITEMS,) * ITEMS, self.catalog.category, torch.float32)
        self.page_weight = torch.zeros(())
        self.dissimilarity = torch.ones(())

    def respond(self, state: Any, page: Page, visit: Visit) -> Response:
        found = super().respond(state, page, visit)
        return Response(**{**vars(found), "leave": torch.full_like(state.views, self.leave)})

    def after(
        self, state: Any, item_NJ: Tensor | None, price_NJ: Tensor, clicked_NJ: Tensor | bool
    ) -> AfterLogits:
        buy_NJ, never_NJ = torch.full_like(price_NJ, BUY), torch.full_like(price_NJ, -100.0)
        return AfterLogits(buy_NJ, never_NJ, never_NJ)

    def returning(self, state: Any, visit: Visit) -> Return:
        even_N = torch.zeros_like(state.views)
        return Return(even_N + 2.0, even_N + math.log(2.0), even_N.new_tensor(0.2))

    def again(self, state: Any, arrival: Arrival) -> Any:
        return self.init_state(arrival)


def core_of(
    ads: Any, num_envs: int, num_sessions: int = 1, leave: float = LEAVE, bid: float = BID
) -> AdCore:
    """Campaigns that all bid alike and pay their bid, budgets and caps out of the way."""
    rows = [
        {"item": SLOTS + number, "bid": bid, "budget": 1e6, "value": bid}
        for number in range(CAMPAIGNS)
    ]
    return open_ad_core(
        EvenShop(leave),
        task="allocate",
        ads=ads,
        num_envs=num_envs,
        num_slots=SLOTS,
        num_sessions=num_sessions,
        campaigns=rows,
        rules={"min_distance": 1, "max_ads": 2, "frequency_cap": 10_000},
        market={"pricing": "first_price", "error": 0.0},
        weights={"take_rate": TAKE},
        max_pages=1000,
        click_rate=MASS / (1 + SLOTS * MASS),
    )


def worth(law: AdLaw, ads: Sequence[Sequence[int]], pages: int = 400) -> list[float]:
    """What a session is worth to the platform under each plan, currency units.

    A plan holds the ads of the first pages, the last of them for all that follow. Relevance of an
    ad is 1/2, since all items are alike, so trust stays where it begins and an ad tires by 1/2.
    """
    plan_PT = torch.tensor(ads, dtype=torch.float64)
    stays_P = torch.ones(len(ads), dtype=torch.float64)
    tired_P, worth_P = torch.zeros_like(stays_P), torch.zeros_like(stays_P)
    for page in range(pages):
        ads_P = plan_PT[:, min(page, plan_PT.shape[1] - 1)]
        logit_P = LEAVE + law.leave * tired_P if page else torch.full_like(tired_P, -torch.inf)
        stays_P = stays_P * torch.sigmoid(-logit_P)
        mass = MASS * math.exp(law.level)
        click_P = ads_P * mass / (1.0 + (SLOTS - ads_P) * MASS + ads_P * mass)
        sold = PRICE * TAKE / (1.0 + math.exp(-BUY))
        worth_P = worth_P + stays_P * (click_P * BID + sold)
        tired_P = law.memory * tired_P + 0.5 * ads_P
    return worth_P.tolist()


@torch.no_grad()
def earned(
    core: AdCore, policy: Any, *, days: float | None = None, pages: int = 10_000
) -> tuple[Tensor, float]:
    """What each shopper brings, within so many days or pages of the first, and the ads a page."""
    observation = core.reset(0)
    begun_N, going_N = observation.base.visit.time_ms, torch.ones(core.num_envs, dtype=torch.bool)
    sum_N, ads, seen = torch.zeros(core.num_envs), 0.0, 0.0
    while pages and bool(going_N.any()):
        played: AdTransition = core.play(policy.act(observation))
        assert played.outcome.page.sponsored is not None
        sum_N += played.reward * going_N
        ads += float((played.outcome.page.sponsored.sum(-1) * going_N).sum())
        seen, pages = seen + float(going_N.sum()), pages - 1
        observation = played.observation
        going_N = going_N & ~(played.terminated | played.truncated)
        if days is not None:
            going_N = going_N & (observation.base.visit.time_ms < begun_N + days * DAY_MS)
    return sum_N, ads / seen


class Always:
    """The same option on every page."""

    def __init__(self, option: int) -> None:
        self.option = option

    def act(self, observation: Any, *, explore: bool = False) -> Tensor:
        return torch.full((len(observation.feature),), self.option)


def slots_of(task: Task) -> list[tuple[int, ...]]:
    """Of each option, to be sure that they are `LOADS`."""
    return [tuple(row.nonzero().flatten().tolist()) for row in task.pattern_JK]
