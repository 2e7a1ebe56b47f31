"""agents.loop: a run that was killed at any moment ends with the numbers of one that was not."""

from __future__ import annotations

import random
from pathlib import Path
from typing import Any

import pytest
import torch
from probe_model import MODEL, SLOTS, SPEC
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from agents import loop
from agents.base import Agent
from agents.bcq import BCQ
from agents.cloning import Cloning
from agents.dqn import DQN
from agents.iql import IQL
from agents.linear import LinearBandit
from agents.logger import Logger
from agents.loop import AGENT, PROGRESS, train
from agents.ppo import PPO
from agents.sac import SAC
from agents.sarsa import Sarsa
from agents.tabular import TabularQ
from agents.topk_reinforce import TopKReinforce
from agents.wolpertinger import Wolpertinger
from recgym.envs.core import ShopCore
from recgym.errors import UserError

LANES, UPDATES = 32, 40
RETURNS = {"dqn": "mean", "rainbow": "categorical"}
# cql keeps what dqn does
LOGGED = {"bcq": BCQ, "iql": IQL, "cloning": Cloning, "topk_reinforce": TopKReinforce}


def made(kind: str) -> Agent:
    built: dict[str, Any] = {"user_model": MODEL, "num_slots": SLOTS, "cart_paid": 0.3}
    wide = {**built, "num_features": SPEC.num_features, "hidden": 16}
    small = {**wide, "batch_size": 32, "learning_starts": 96, "capacity": 500}
    if kind in RETURNS:
        if kind != "dqn":
            small |= {"prioritised": True, "noisy": True, "n_step": 3}
        return DQN(**small, returns=RETURNS[kind], num_atoms=8)
    if kind == "wolpertinger":
        return Wolpertinger(**small, num_retrieved=5)
    if kind in LOGGED:
        small |= {"views_I": torch.arange(MODEL.catalog.num_items)}
        if kind in ("cloning", "topk_reinforce"):
            del small["cart_paid"]
        agent: Agent = LOGGED[kind](**small)
        return agent
    if kind == "sac":
        return SAC(**small)
    if kind == "ppo":
        return PPO(**wide, horizon=7)
    if kind == "thompson":
        return LinearBandit(**built, kind="thompson")
    return (Sarsa if kind == "sarsa" else TabularQ)(
        num_items=MODEL.catalog.num_items, num_slots=SLOTS
    )


class KilledError(Exception):
    pass


class Mortal:
    """Forwards to an agent, and dies before it has learned from so many steps."""

    def __init__(self, agent: Agent, steps: int) -> None:
        self.agent, self.left = agent, steps

    def __getattr__(self, name: str) -> Any:
        return getattr(self.agent, name)

    def learn(self, *step: Any) -> Any:
        self.left -= 1
        if self.left < 0:
            raise KilledError
        return self.agent.learn(*step)


def run(agent: Any, folder: Path, **changed: Any) -> dict[str, Any]:
    core = ShopCore(SPEC, "chosen_revenue", num_envs=LANES, max_pages=4)
    settings = {"steps": LANES * UPDATES, "seed": 3, "checkpoint_steps": 5 * LANES, **changed}
    folder.mkdir(exist_ok=True)
    with Logger(folder) as logger:
        train(agent, core, logger=logger, folder=folder, **settings)
    loaded: dict[str, Any] = torch.load(folder / AGENT, weights_only=True)
    return loaded


def flat(state: Any, path: str = "") -> dict[str, Any]:
    if isinstance(state, dict):
        return {k: v for n, value in state.items() for k, v in flat(value, f"{path}/{n}").items()}
    if isinstance(state, list):
        return flat(dict(enumerate(state)), path)
    return {path: state}


KINDS = [
    *RETURNS, *LOGGED, "sac", "wolpertinger", "ppo", "thompson", "tabular", "sarsa"
]  # fmt: skip


@pytest.mark.parametrize("kind", KINDS)
def test_a_killed_run_goes_on_to_the_same_numbers(kind: str, tmp_path: Path) -> None:
    # Why: replay, optimiser, schedules, noise and shoppers are all part of a run. It is killed at
    # random moments, the first time before any state was left.
    whole = flat(run(made(kind), tmp_path / "whole"))
    folder, chance = tmp_path / "killed", random.Random(kind)
    for least, most in ((0, 5), (5, 12), (0, 12), (5, 12)):
        with pytest.raises(KilledError):
            run(Mortal(made(kind), chance.randrange(least, most)), folder, resume=True)
    assert (folder / PROGRESS).exists() and not (folder / AGENT).exists()
    ended = flat(run(made(kind), folder, resume=True))
    assert set(ended) == set(whole)
    for name, value in whole.items():
        same = torch.equal(value, ended[name]) if torch.is_tensor(value) else value == ended[name]
        assert same, name
    # what comes after training may be killed too: nothing is trained again
    again = flat(run(Mortal(made(kind), 0), folder, resume=True))
    assert all(torch.equal(again[k], v) for k, v in whole.items() if torch.is_tensor(v))


def test_a_run_that_is_not_resumed_begins_anew(tmp_path: Path) -> None:
    # Why: what an earlier run left must not leak into another one.
    with pytest.raises(KilledError):
        run(Mortal(made("ppo"), 12), tmp_path / "a")
    first, second = flat(run(made("ppo"), tmp_path / "a")), flat(run(made("ppo"), tmp_path / "b"))
    assert all(torch.equal(first[k], v) for k, v in second.items() if torch.is_tensor(v))
    # without states of its own it leaves none of the earlier run's, which a later one could take
    run(made("ppo"), tmp_path / "a", checkpoint_steps=None)
    assert not (tmp_path / "a" / PROGRESS).exists()


def test_no_state_is_ahead_of_the_curves_on_disk(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Why: a kill loses what was not yet written, and the run would go on behind the hole.
    seen: list[list[int]] = []

    def saved(state: dict[str, Any], path: Path) -> None:
        events = EventAccumulator(str(tmp_path))
        events.Reload()
        seen.append([point.step for point in events.Scalars("train/reward")])

    monkeypatch.setattr(loop, "save", saved)
    with pytest.raises(FileNotFoundError):  # nothing was saved
        run(made("ppo"), tmp_path)
    # a point at the first update, the 21st and the last; states after each fifth, and the agent's
    first, later = [LANES], [LANES, 21 * LANES]
    assert seen[:8] == [first] * 4 + [later] * 3 + [[*later, 40 * LANES]]


def test_a_damaged_state_is_refused_in_a_sentence(tmp_path: Path) -> None:
    # Why: half a file after a full disk, or the state of another agent.
    (tmp_path / PROGRESS).write_bytes(b"no state")
    with pytest.raises(UserError, match="cannot be resumed from"):
        run(made("dqn"), tmp_path, resume=True)
    with pytest.raises(KilledError):
        run(Mortal(made("ppo"), 12), tmp_path)
    with pytest.raises(UserError, match="cannot be resumed from"):
        run(made("dqn"), tmp_path, resume=True)
    with pytest.raises(UserError, match=r"cannot be resumed from .*not torch"):
        core = ShopCore(SPEC, "chosen_revenue", num_envs=LANES + 1)
        with Logger(tmp_path) as logger:
            train(made("ppo"), core, steps=100, seed=0, logger=logger, folder=tmp_path, resume=True)
