"""conf/agent: what every agent owes, whichever it is, and a shop that every learner solves."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import pytest
import torch
from probe_model import SLOTS, SPEC, WORTH, agent_named, first_pages
from torch import Tensor

from recgym.envs.core import ShopCore
from recgym.types import Outcome

CONF = Path(__file__).resolve().parents[1] / "conf" / "agent"
# those of ads choose among options, and have their own: test_ad_agents
NAMES = sorted(path.stem for path in CONF.glob("*.yaml") if not path.stem.startswith("ad_"))
LEARNERS = [name for name in NAMES if hasattr(agent_named(name), "learn")]
TABLES = {"tabular", "sarsa"}
RANDOM_SLOTS = {  # fills them to explore
    *("dqn", "qr_dqn", "c51", "cql", "bcq", "reranking", "wolpertinger", "recurrent_dqn"),
    *TABLES,
}
WIDE = {  # exploration as wide as each agent has it
    **{name: {"epsilon": (1.0, 1.0)} for name in RANDOM_SLOTS},
    "thompson": {"alpha": 5.0},
    "ppo": {"sharpness": 1e-3},
    "a2c": {"sharpness": 1e-3},
    "reinforce": {"sharpness": 1e-3},
    "sac": {"sharpness": 1e-3},
}
# of the probe shop, where nothing is delayed; retrieval there knows nothing of what items are worth
MYOPIC: dict[str, Any] = {"gamma": 0.0, "learning_rate": 3e-3}
WIDENING: dict[str, Any] = {"epsilon": (1.0, 0.2), "epsilon_steps": 60}
QUICKLY: dict[str, Any] = {"epsilon": (1.0, 0.2), "epsilon_steps": 40}
SOLVERS: dict[str, tuple[int, dict[str, Any]]] = {
    "dqn": (100, {**MYOPIC, **WIDENING}),
    "qr_dqn": (100, {**MYOPIC, **WIDENING}),
    "c51": (100, {**MYOPIC, **WIDENING}),
    "rainbow": (80, MYOPIC),
    # nothing is retrieved for what it is worth: the first retrieves all there is, the second points
    "reranking": (60, {**MYOPIC, **QUICKLY}),
    "wolpertinger": (60, {**MYOPIC, **QUICKLY, "num_retrieved": 5, "actor_rate": 3e-3}),
    "recurrent_dqn": (60, {**MYOPIC, **QUICKLY, "recurrent": 8}),
    "cql": (100, {**MYOPIC, **WIDENING}),
    # online the clone follows the agent itself: a wide gate lets it leave what it began with
    "bcq": (100, {**MYOPIC, **WIDENING, "threshold": 0.01}),
    "iql": (250, {**MYOPIC, "beta": 1.0}),
    "ppo": (80, {**MYOPIC, "sharpness": 1e-3}),
    "a2c": (80, {**MYOPIC, "sharpness": 1e-3}),
    "reinforce": (80, {**MYOPIC, "sharpness": 1e-3, "horizon": 2}),
    # faster, it settles on two of them before it has seen what the third is worth
    "topk_reinforce": (250, {**MYOPIC, "horizon": 1, "learning_rate": 1e-3, "batch_size": 256}),
    "sac": (60, {**MYOPIC, "sharpness": 1e-3}),
    "linucb": (60, {"prior": 1.0}),
    "thompson": (60, {"prior": 1.0}),
}


@pytest.mark.parametrize("name", LEARNERS)
def test_exploration_is_a_function_of_the_lane(name: str) -> None:
    # Why: results must not depend on the number of lanes or on what was drawn before.
    agent = agent_named(name, **WIDE.get(name, {}))
    few, many = agent.act(first_pages(8), explore=True), agent.act(first_pages(32), explore=True)
    assert torch.equal(few, many[:8])
    assert torch.equal(few, agent.act(first_pages(8), explore=True))
    # an upper bound is alike for shoppers of whom as much is known
    assert (len(many.unique(dim=0)) > 8) == (name != "linucb")


@pytest.mark.parametrize("explore", [False, True])
@pytest.mark.parametrize("name", NAMES)
def test_items_that_may_not_be_shown_are_not(name: str, explore: bool) -> None:
    # Why: stock and rules hold for every agent, and where too few are left. Slots that are filled
    # at random to explore are the exception: the shop itself leaves them empty.
    if explore and name in RANDOM_SLOTS:
        pytest.skip("fills slots at random")
    page = first_pages(500)
    few = torch.zeros_like(page.eligible)
    few[:, [3, 7]] = True
    item = agent_named(name).act(dataclasses.replace(page, eligible=few), explore=explore)
    assert set(item.flatten().tolist()) == {3, 7, -1}
    assert bool(((item >= 0).sum(-1) == 2).all())


def trained(name: str, updates: int, told: bool, **changed: Any) -> Any:
    """Each click is paid what its item is worth or, where not ``told``, what any item is."""
    generator = torch.Generator().manual_seed(0)

    def reward(outcome: Outcome) -> Tensor:
        item_N = outcome.event.item.clamp(min=0)
        any_N = torch.randint(len(WORTH), item_N.shape, generator=generator)
        return torch.where(outcome.event.slot >= 0, WORTH[item_N if told else any_N], 0.0)

    core, agent = ShopCore(SPEC, reward, num_envs=256, max_pages=5), agent_named(name, **changed)
    observation = core.reset(0)
    for _ in range(updates):
        item_NK = agent.act(observation, explore=True)
        transition = core.step(item_NK)
        agent.learn(observation, item_NK, transition)
        observation = transition.observation
    return agent


@pytest.mark.parametrize("told", [True, False])
@pytest.mark.parametrize("name", list(SOLVERS))
def test_it_learns_the_best_slate_of_a_probe_shop(name: str, told: bool) -> None:
    # Why: all items appeal alike, so a slate is worth the sum of its items: the best one holds the
    # three of highest worth. Rewards of random items say nothing, and must not lead there. (Those
    # of other lanes would: all of them show much the same slate.)
    updates, changed = SOLVERS[name]
    item_NK = trained(name, updates, told, **changed).act(first_pages(200))
    assert bool((item_NK >= 0).all())
    reached = float(WORTH[item_NK].sum(-1).mean() / WORTH.topk(SLOTS).values.sum())
    assert reached >= 0.95 if told else reached < 0.8, reached


def test_every_learner_is_put_to_it_but_the_tables_and_the_clone() -> None:
    # Why: an agent that is added must be shown to learn. The shop of the tables is the tiny one; a
    # clone looks at no reward and copies whatever is shown, see test_cloning.
    assert set(SOLVERS) | TABLES | {"cloning"} == set(LEARNERS)


@pytest.mark.parametrize("name", LEARNERS)
def test_a_saved_agent_acts_alike(name: str, tmp_path: Path) -> None:
    # Why: a checkpoint is what an evaluation opens; it loads without pickled code.
    agent, other, page = trained(name, 40, True), agent_named(name), first_pages(50)
    torch.save(agent.state_dict(), tmp_path / "agent.pt")
    other.load_state_dict(torch.load(tmp_path / "agent.pt", weights_only=True))
    assert torch.equal(agent.act(page), other.act(page)) and other.steps == 40
    assert not torch.equal(agent.act(page), agent_named(name).act(page))
