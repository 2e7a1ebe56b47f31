"""One shopper's session: the simulator's own steps, and the law behind each."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Protocol

import torch
from torch import Tensor

from recgym import choice, rng
from recgym.explain.histories import History, Moment
from recgym.refill import MAX_PAGES
from recgym.replay.steps import Ads, Chances, Item, LogParts, Session, Step
from recgym.rng import Purpose
from recgym.simulator import SimState
from recgym.spaces import ObservationSpec
from recgym.types import After, Event, Kind, Outcome, Page, Policy, Visit
from recgym.users.base import follow

NUM_BEST = 3  # items not shown, and items found alone, of which a step tells


@dataclass(frozen=True)
class Turn:
    """One page of one lane, answered."""

    before: SimState
    page: Page
    outcome: Outcome
    after: SimState
    score_I: Tensor | None  # of the items, by whoever ranked them; None where it says none
    ads: Ads | None = None
    campaign_K: tuple[int | None, ...] = ()  # of each slot, where there are ads


class Turns(Protocol):
    """One policy in one shop, played page by page; its state is whatever it needs."""

    @property
    def spec(self) -> ObservationSpec:
        """What a recommender sees of the shop, and the shop."""
        ...

    def begin(self, seed_1: Tensor) -> Any:
        """Before the first page of the lane with this seed."""
        ...

    def turn(self, state: Any) -> tuple[Any, Turn]:
        """The state after the next page, and the page."""
        ...


@dataclass(frozen=True)
class Recommending:
    """A recommender in a shop."""

    spec: ObservationSpec
    policy: Policy

    def begin(self, seed_1: Tensor) -> SimState:
        """Before the first page of the lane with this seed."""
        return self.spec.simulator.reset(seed_1, torch.zeros_like(seed_1))

    def turn(self, state: SimState) -> tuple[SimState, Turn]:
        """The state after the next page, and the page."""
        simulator, observation = self.spec.simulator, self.spec.observe(state)
        page = simulator.page(state, self.policy.act(observation))
        after, outcome = simulator.step(state, page)
        scores = getattr(self.policy, "scores", None)
        score_I = None if scores is None else scores(observation)[0]
        return after, Turn(state, page, outcome, after, score_I)


@torch.no_grad()
def play(
    turns: Turns,
    seed: int,
    *,
    names: tuple[str, str, int],
    category_I: Tensor | None = None,
    max_pages: int = MAX_PAGES,
) -> Session:
    """The first session of the lane with this seed.

    Args:
        turns: policy and shop.
        seed: of the lane.
        names: of policy, shop and shopper.
        category_I: as the site numbers them, where the shop behind it has other numbers.
        max_pages: after which the session is cut off.
    """
    state = turns.begin(torch.tensor([seed], device=turns.spec.catalog.category.device))
    played: list[Turn] = []
    tellers: list[_Teller] = []
    while len(played) < max_pages and not (played and bool(played[-1].outcome.left)):
        state, turn = turns.turn(state)
        played.append(turn)
        tellers.append(_Teller(turns.spec, turn, category_I))
    policy_name, shop, shopper = names
    arrival = played[0].before.arrival
    moments = [Moment(turn.page, turn.outcome.event, turn.before.visit) for turn in played]
    return Session(
        policy=policy_name,
        shop=shop,
        shopper=shopper,
        seed=seed,
        start_ms=int(arrival.start_ms),
        steps=tuple(teller.step() for teller in tellers),
        over=bool(played[-1].outcome.left),
        kinds=any(teller.num_kinds > 1 for teller in tellers),
        has_ads=played[0].ads is not None,
        history=History(arrival, tuple(moments)),
    )


class _Teller:
    """Reads the law of one lane's page from the shop, as the simulator did."""

    def __init__(
        self,
        spec: ObservationSpec,
        turn: Turn,
        category_I: Tensor | None,
    ) -> None:
        state, page, outcome = turn.before, turn.page, turn.outcome
        self.simulator, self.catalog, self.shop = spec.simulator, spec.catalog, spec.simulator.shop
        self.category_I = self.catalog.category if category_I is None else category_I
        self.turn, self.state, self.now = turn, state, state.visit
        self.page, self.outcome = page, outcome
        reading = self.shop.read(state.user)
        share_1G, supposed_G = self.shop.segments(reading)
        self.log_share_G = share_1G[0].to(self.simulator.dtype).log()
        self.num_kinds = share_1G.shape[1]
        lane_G = torch.zeros(self.num_kinds, dtype=torch.int64, device=share_1G.device)
        self.event_G: Event = outcome.event.lanes(lane_G)
        page_G, now_G = page.lanes(lane_G), self.now.lanes(lane_G)
        self.supposed_G = self.shop.facing(supposed_G, page_G, now_G)
        self.law_G = self._law(self.supposed_G, page_G, now_G)
        key_1 = rng.page_keys(state.noise, self.now.page_number, int(Purpose.SEGMENT))
        supposed = self.shop.suppose(reading, rng.uniform(key_1, dtype=self.simulator.dtype))
        self.drawn = choice.probabilities(self._law(supposed, page, self.now))

    def _law(self, supposed: Any, page: Page, visit: Visit) -> choice.Law:
        return choice.law(self.shop.respond(supposed, page, visit), visit)

    def step(self) -> Step:
        """All of it as plain numbers."""
        event, now, score_I = self.outcome.event, self.now, self.turn.score_I
        probability = choice.probabilities(self.law_G)
        share_G = self.log_share_G.exp()
        slot_K, organic_I = share_G @ probability.slot, share_G @ probability.organic
        chances = Chances(
            float(share_G @ probability.leave), float(share_G @ probability.checkout),
            float(slot_K.sum()), float(organic_I.sum()),
        )  # fmt: skip
        drawn = Chances(
            float(self.drawn.leave), float(self.drawn.checkout),
            float(self.drawn.slot.sum()), float(self.drawn.organic.sum()),
        )  # fmt: skip
        follow_4, log_prob = self._happened()
        viewed = event.kind == int(Kind.VIEW)
        finds = organic_I.topk(min(NUM_BEST, len(organic_I))).indices.tolist()
        if viewed and int(event.slot) < 0 and int(event.item) not in finds:
            finds.append(int(event.item))
        return Step(
            number=int(now.page_number),
            time_ms=int(now.time_ms),
            gap=float(now.gap),
            usual_gap=self._usual_gap(),
            slots=self._slots(score_I, slot_K),
            unshown=self._unshown(score_I),
            finds=tuple(
                self._item(i, chance=float(organic_I[i]), drawn=float(self.drawn.organic[0, i]))
                for i in finds
            ),
            chances=chances,
            drawn=drawn,
            kind=Kind(int(event.kind)),
            viewed=self._item(int(event.item), float(event.price)) if viewed else None,
            slot=int(event.slot),
            after=After(int(event.after)),
            follows=tuple(follow_4.tolist()) if viewed else (),
            log_prob=log_prob,
            revenue=float(self.outcome.revenue),
            cart=float(self.turn.after.visit.cart_value()),
            ads=self.turn.ads,
        )

    def _happened(self) -> tuple[Tensor, LogParts]:
        """Chance of each `After` given the view [4], and the log-probability of what happened."""
        event = self.event_G
        chosen_G = self.log_share_G + choice.log_prob(self.law_G, event)
        log_follow_G4 = follow(self.shop, self.supposed_G, event.item, event.price, event.slot)
        # who chose so is likelier of a kind that would
        follow_4 = (chosen_G.softmax(-1).unsqueeze(-1) * log_follow_G4.exp()).sum(0)
        after = float(follow_4[int(event.after[0])].log()) if int(event.item[0]) >= 0 else 0.0
        # a page's time is known on the second and later ones, and not of leaving
        timed = int(self.now.page_number) > 0 and int(event.kind[0]) != int(Kind.LEAVE)
        gap = 0.0
        if timed:
            mean_1, std = self.shop.gap(self.state.user)
            normal = torch.distributions.Normal(mean_1, std)
            gap = float(normal.log_prob(event.gap[:1].clamp(min=1.0).log()))
        return follow_4, LogParts(float(chosen_G.logsumexp(-1)), after, gap)

    def _usual_gap(self) -> float:
        if int(self.now.page_number) == 0:
            return 0.0
        return float(self.shop.gap(self.state.user)[0].exp())

    def _item(self, item: int, price: float | None = None, **said: Any) -> Item:
        if price is None:
            place_11 = torch.tensor([[item]], device=self.now.time_ms.device)
            price = float(self.catalog.price_of(place_11, self.now.time_ms))
        return Item(item, int(self.category_I[item]), price, **said)

    def _slots(self, score_I: Tensor | None, slot_K: Tensor) -> tuple[Item | None, ...]:
        found: list[Item | None] = []
        for k, item in enumerate(self.page.item[0].tolist()):
            if item < 0:
                found.append(None)
                continue
            campaign = self.turn.campaign_K[k] if self.turn.campaign_K else None
            by_score_I = score_I if campaign is None else None  # an ad stands by the auction's
            found.append(
                self._item(
                    item,
                    float(self.page.price[0, k]),
                    score=None if by_score_I is None else float(by_score_I[item]),
                    chance=float(slot_K[k]),
                    drawn=float(self.drawn.slot[0, k]),
                    campaign=campaign,
                )
            )
        return tuple(found)

    def _unshown(self, score_I: Tensor | None) -> tuple[Item, ...]:
        if score_I is None:
            return ()
        shown_J = self.page.item[0][self.page.item[0] >= 0]
        rest_I = score_I.index_fill(0, shown_J, -torch.inf)
        best = rest_I.topk(min(NUM_BEST, len(rest_I)))
        return tuple(
            self._item(item, score=score)
            for item, score in zip(best.indices.tolist(), best.values.tolist(), strict=True)
            if score > -torch.inf
        )
