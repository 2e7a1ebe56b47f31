"""Agents from the log alone against the policy that wrote the log, in the true shop."""

from __future__ import annotations

from pathlib import Path
from typing import Any, NamedTuple

import pytest
import torch
from tiny import compose
from torch import Tensor

from agents.logged import LoggedCore
from agents.logger import Logger
from agents.loop import train
from agents.valuing import make_agent, play, resources, shop_specs, true_side
from recgym.reward import revenue
from recgym.spaces import ObservationSpec
from recgym.stages import prepare_log, prepare_model
from recgym.types import Policy, Sessions

pytestmark = pytest.mark.slow
CPU = torch.device("cpu")
SMALL = [
    "log.num_sessions=6000",
    "world.num_items=60",
    "num_slots=5",
    "user_model.model.hidden=32",
    "user_model.fit.epochs=2",
    "user_model.on_policy.sessions=200",
    "user_model.on_policy.true_sessions=200",
]


class Shop(NamedTuple):
    """A small default shop, its log and what was fitted on it."""

    learned: ObservationSpec
    true: ObservationSpec
    sessions: Sessions
    paid_S: Tensor
    logging: Policy
    offered: dict[str, Any]


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory) -> Shop:
    settings, cache = compose("train", *SMALL), tmp_path_factory.mktemp("offline")
    log, reader, _ = prepare_log(settings["log"], cache, {})
    fitted = {**settings["user_model"], "num_slots": settings["num_slots"]}
    model = prepare_model(log, reader, fitted, cache, CPU, {})[0]
    world, logging = true_side(reader, CPU)
    assert logging is not None
    specs = shop_specs(model, world, settings["num_slots"])
    offered = resources(model, log.sessions(), settings["num_slots"], seed=0)
    paid_S = torch.from_numpy(log.steps.paid)
    return Shop(specs["learned"], specs["true"], log.sessions(), paid_S, logging, offered)


def gained(shop: Shop, name: str, folder: Path, **changed: Any) -> tuple[float, float]:
    """Expected revenue a session above the logging policy's, on the same shoppers, and its error.

    The agent learns from 40,000 pages of the log.
    """
    agent = make_agent(compose("train", f"agent={name}")["agent"] | changed, shop.offered)
    core = LoggedCore(shop.learned, shop.sessions, shop.paid_S, revenue, num_envs=256)
    with Logger(folder) as logger:
        train(
            agent, core, steps=40_000, seed=0, logger=logger, folder=folder, behaviour=core
        )  # fmt: skip
    policies = agent, shop.logging
    found, logged = (play(shop.true, one, 4000, 0, CPU).stats.expected_revenue for one in policies)
    gain_B = (found - logged).double()
    return float(gain_B.mean()), float(gain_B.std()) / len(gain_B) ** 0.5


@pytest.mark.parametrize("name", ["cql", "bcq", "iql"])
def test_it_earns_more_than_the_policy_that_wrote_the_log(
    name: str, shop: Shop, tmp_path: Path
) -> None:
    # Why: this is what learning from a log is for, and only the truth can tell. The lower end of a
    # 95 % interval on 4,000 shoppers must be above 0.
    mean, error = gained(shop, name, tmp_path)
    print(name, mean, error)
    assert mean - 1.96 * error > 0.0, (mean, error)


def test_what_leans_to_nothing_is_the_clone_again(shop: Shop, tmp_path: Path) -> None:
    # Why: else the gain of implicit Q-learning could be that of showing the likeliest items at all.
    mean, error = gained(shop, "iql", tmp_path, beta=1e-6)
    leaning, _ = gained(shop, "iql", tmp_path)
    print(mean, error, leaning)
    assert leaning - mean > 1.96 * error, (leaning, mean, error)
