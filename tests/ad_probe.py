"""Made-up pages with ads, whose best options are known by hand: what agents of ads are tried on."""

from __future__ import annotations

import dataclasses
from types import SimpleNamespace
from typing import Any

import torch
from probe_model import SPEC, first_pages
from tiny import agent_settings
from torch import Tensor

from agents.valuing import make_agent
from recgym.ads.records import AdObservation, AdTransition, Options, Request

SLOTS = 10
PLACES = ((), (2,), (5,), (2, 5))  # slots that ads take under each option
NUM_FEATURES, NUM_OPTION = 2, 3


def places() -> Tensor:
    """[J, K] bool."""
    place_JK = torch.zeros(len(PLACES), SLOTS, dtype=torch.bool)
    for row, slots in enumerate(PLACES):
        place_JK[row, list(slots)] = True
    return place_JK


def options_of(payment_NJ: Tensor, feature_NJX: Tensor | None = None) -> Options:
    """The four options above, all allowed, expected to pay so much."""
    num = len(payment_NJ)
    place_NJK = places().expand(num, -1, -1)
    if feature_NJX is None:
        feature_NJX = torch.cat([payment_NJ.unsqueeze(-1), place_NJK[..., [2, 5]].float()], -1)
    return Options(
        feature=feature_NJX,
        allowed=torch.ones(num, len(PLACES), dtype=torch.bool),
        num_ads=place_NJK.sum(-1),
        payment=payment_NJ,
        place=place_NJK,
    )


def observed(
    options: Options, feature_NO: Tensor | None = None, seed_N: Tensor | None = None
) -> AdObservation:
    """An observation with these options, the rest of it of no meaning."""
    num = len(options.payment)
    base = first_pages(num)
    if seed_N is not None:
        base = dataclasses.replace(base, arrival=dataclasses.replace(base.arrival, seed=seed_N))
    market: Any = SimpleNamespace(ads=torch.zeros(num, dtype=torch.int64))
    item_NK = torch.arange(SLOTS).expand(num, -1)
    empty_N0 = torch.zeros(num, 0)
    request = Request(item_NK, *(empty_N0.long(),) * 2, *(empty_N0,) * 4)
    if feature_NO is None:
        feature_NO = torch.zeros(num, NUM_FEATURES)
    return AdObservation(
        feature=feature_NO, base=base, market=market, request=request, options=options
    )


class AdProbe:
    """Pages of one kind, or of two that the observation tells apart, without shoppers behind.

    Args:
        pays: of each option, per kind of page, currency units; what an option is said to pay.
        leaves: probability that the shopper leaves after each option.
        earns: what an option really brings, per kind; None: what it pays.
        organic: what each page brings besides.
        num: N, lanes.
    """

    def __init__(
        self,
        pays: list[list[float]],
        leaves: list[float],
        *,
        earns: list[list[float]] | None = None,
        organic: float = 0.0,
        num: int = 128,
    ) -> None:
        self.pays, self.leaves = torch.tensor(pays), torch.tensor(leaves)
        self.earns = self.pays if earns is None else torch.tensor(earns)
        self.organic, self.num = organic, num
        self.generator = torch.Generator().manual_seed(0)
        self.now = self.drawn()

    def drawn(self) -> AdObservation:
        """Pages of kinds at random."""
        kind_N = torch.randint(len(self.pays), (self.num,), generator=self.generator)
        return self.of(kind_N)

    def of(self, kind_N: Tensor) -> AdObservation:
        """Pages of these kinds."""
        feature_N2 = torch.stack([kind_N.float(), torch.ones(len(kind_N))], -1)
        seed_N = torch.randint(1 << 40, (len(kind_N),), generator=self.generator)
        return observed(options_of(self.pays[kind_N]), feature_N2, seed_N)

    def step(self, action_N: Tensor) -> AdTransition:
        """What the options bring."""
        kind_N = self.now.feature[:, 0].long()
        left_N = torch.rand(self.num, generator=self.generator) < self.leaves[action_N]
        sponsored_NK = places()[action_N]
        outcome: Any = SimpleNamespace(
            page=SimpleNamespace(sponsored=sponsored_NK),
            impressions=torch.full((self.num,), SLOTS),
        )
        self.now = self.drawn()
        ads: Any = None
        return AdTransition(
            observation=self.now,
            final_observation=self.now,
            reward=self.organic + self.earns[kind_N, action_N],
            terminated=left_N,
            truncated=torch.zeros_like(left_N),
            outcome=outcome,
            ads=ads,
        )


def agent_named(name: str, **changed: Any) -> Any:
    """An entry of ``conf/agent`` for these pages, as small and as quick as a test wants it."""
    settings = agent_settings(name)
    quick = {"hidden": 32, "batch_size": 64, "learning_starts": 64, "updates": 1}
    quick |= {"averaging": 0.05, "anchor": 0.0}  # few updates, and no noise of sales
    settings |= {key: value for key, value in quick.items() if key in settings}
    offered = {
        "num_features": NUM_FEATURES,
        "num_option": NUM_OPTION,
        "seed": 0,
        "device": "cpu",
        "load_cap": None,
        "cart_paid": 0.3,
        "user_model": SPEC.simulator.encoder,
    }
    given = {key: changed.pop(key) for key in list(changed) if key in offered}
    return make_agent(settings | changed, offered | given)


def trained(agent: Any, probe: AdProbe, steps: int) -> Any:
    """The agent after so many steps of all lanes."""
    observation = probe.now
    for _ in range(steps):
        action_N = agent.act(observation, explore=True)
        transition = probe.step(action_N)
        agent.learn(observation, action_N, transition)
        observation = transition.observation
    return agent


def same(first: Any, second: Any) -> bool:
    """Whether two states hold the same numbers."""
    if isinstance(first, dict):
        return first.keys() == second.keys() and all(same(first[k], second[k]) for k in first)
    if isinstance(first, list | tuple):
        return len(first) == len(second) and all(map(same, first, second))
    return torch.equal(first, second) if isinstance(first, torch.Tensor) else first == second
