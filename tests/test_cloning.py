"""agents.cloning: likelihoods by hand, and a logging policy that is known is found again."""

from __future__ import annotations

import dataclasses
from typing import Any

import pytest
import torch
from probe_model import ITEMS, MODEL, SLOTS, SPEC, first_pages
from simulated_log import simulate
from test_logged import spec_of, world_and_model
from torch import Tensor

from agents.cloning import Clone, Cloning
from agents.logged import LoggedCore
from recgym.errors import UserError
from recgym.logging_policy import LoggingPolicy
from recgym.plackett_luce import log_prob
from recgym.reward import click
from recgym.simulator import Simulator
from recgym.types import Observation


def clone_of(views_I: Tensor) -> Clone:
    return Clone(
        MODEL, SPEC.num_features, views_I, seed=0, hidden=16, learning_rate=1e-2, clip=10.0
    )


def test_the_likelihood_of_a_page_by_hand() -> None:
    # Why: it begins at the items' views. With 0, 1 and 3 views (weights 1, 2 and 4 of 7, all others
    # far below) the page (2, 0) has 4 / 7, then 1 / 3: 0.559616 and 1.098612 nats, so 0.829114 a
    # slot; a slot that counts twice and one that does not make (2 * 0.559616) / 2 of them.
    views = torch.full((ITEMS,), -1.0 + 1e-6)
    views[:3] = torch.tensor([0.0, 1.0, 3.0])
    page, feature = torch.tensor([[2, -1, 0]]), torch.zeros(1, SPEC.num_features)
    found = clone_of(views).fit(feature, page)
    assert found["nll"].item() == pytest.approx(0.829114, abs=1e-4)
    # of the first slot: shares 1, 2 and 4 of 7 have 0.955700 nats
    assert found["entropy"].item() == pytest.approx(0.955700, abs=1e-3)


@pytest.mark.parametrize(("weight", "better"), [(1.0, True), (0.0, False)])
def test_a_step_follows_the_slots_that_count(weight: float, better: bool) -> None:
    # Why: implicit Q-learning moves a slot by its weight, and by nothing else.
    clone, page = clone_of(torch.zeros(ITEMS)), torch.tensor([[4, 9, -1]])
    feature = torch.zeros(1, SPEC.num_features)
    weights = torch.tensor([[weight, 0.0, 5.0]])  # that of an empty slot counts nothing
    before = clone.network(feature).detach().log_softmax(-1)
    for _ in range(20):
        clone.fit(feature, page, weights)
    after = clone.network(feature).detach().log_softmax(-1)
    assert (after[0, 4] > before[0, 4] + 0.5).item() == better
    assert torch.equal(after, before) != better


def known_policy(world: Any, share: tuple[float, float, float, float]) -> LoggingPolicy:
    return LoggingPolicy(
        world.catalog, (0.7 * world.fame).exp(), num_slots=SLOTS, share=share, sharpness=3.0
    )


@torch.no_grad()
def test_a_known_logging_policy_is_found_again() -> None:
    # Why: this is what cloning promises. The policy ranks by the shopper's last views and by fame,
    # so that its own likelihood of held-out pages is the best that any clone can reach: chance is
    # log(40 * 39 * 38) / 3 = 3.66 nats a slot. The clone must go nine tenths of the way from chance
    # to it. Once there are views it must agree on the likeliest item more often than one item for
    # all shoppers does.
    world, model = world_and_model()
    policy = known_policy(world, (1.0, 0.0, 0.0, 0.0))
    sessions, _, _ = simulate(Simulator(world, num_slots=SLOTS), policy, 1500, shares=(1.0, 0.0))
    paid = torch.zeros(len(sessions.time_ms))
    core = LoggedCore(spec_of(model), sessions, paid, click, num_envs=64)
    agent = Cloning(
        user_model=model, num_features=core.spec.num_features, num_slots=SLOTS,
        views_I=torch.zeros(40), batch_size=256, learning_starts=256, updates=2,
        learning_rate=3e-3,
    )  # fmt: skip
    observation = core.reset(0)
    for _ in range(300):
        transition = core.step(core.act(observation))
        with torch.enable_grad():
            agent.learn(observation, transition.outcome.page.item, transition)
        observation = transition.observation
    held_out, _, _ = simulate(
        Simulator(world, num_slots=SLOTS), policy, 300, first_seed=10**6, shares=(1.0, 0.0)
    )
    core = LoggedCore(
        spec_of(model), held_out, torch.zeros(len(held_out.time_ms)), click, num_envs=300
    )
    nll, own, same, fixed = likelihoods(agent, policy, core)
    assert own < nll < own + 0.1 * (3.66 - own), (nll, own)
    assert same > fixed + 0.3, (same, fixed)


def likelihoods(
    agent: Cloning, policy: LoggingPolicy, core: LoggedCore
) -> tuple[float, float, float, float]:
    """Nats a slot of clone and policy; how often their first items agree; that of the best one."""
    observation, sums, first = core.reset(0), torch.zeros(4), []
    for number in range(4):
        page, score = core.act(observation), policy.scores(observation)
        clone = agent.clone.logits(observation)
        first += [score.argmax(-1)] if number else []
        sums[0] -= log_prob(clone, page).mean() / SLOTS
        sums[1] -= log_prob(score, page).mean() / SLOTS
        sums[2] += (clone.argmax(-1) == score.argmax(-1)).float().mean() * (number > 0)
        observation = core.step(page).observation
    counts = torch.bincount(torch.cat(first))
    nll, own, same, _ = (sums / torch.tensor([4, 4, 3, 1])).tolist()
    return nll, own, same, float(counts.max() / counts.sum())


def test_items_that_may_not_be_shown_are_not_drawn() -> None:
    # Why: -inf, and not a small number, hides an item; where two are left, one slot stays empty.
    page = first_pages(50)
    eligible = torch.zeros_like(page.eligible)
    eligible[:, [2, 5]] = True
    few: Observation = dataclasses.replace(page, eligible=eligible)
    item = clone_of(torch.arange(ITEMS)).network.page_of(few, SLOTS, True)
    assert set(item.flatten().tolist()) == {2, 5, -1}


def test_a_shop_without_a_user_model_is_refused_in_a_sentence() -> None:
    # Why: shoppers are read through it.
    with pytest.raises(UserError, match="agent=cloning reads shoppers through a fitted user model"):
        Cloning(user_model=None, num_features=3, num_slots=SLOTS, views_I=torch.zeros(4))
