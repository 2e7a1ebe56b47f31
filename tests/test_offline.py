"""Agents from the log alone against the policy that wrote the log, in the true shop."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import Any, NamedTuple

import pytest
import torch
from tiny import agent_settings, compose
from torch import Tensor

from agents.logged import LoggedCore
from agents.logger import Logger
from agents.loop import train
from agents.valuing import make_agent, play, resources, shop_specs, true_side
from recgym.reward import revenue
from recgym.spaces import ObservationSpec
from recgym.stages.log import prepare_log
from recgym.stages.model import prepare_model
from recgym.types import Policy, Sessions

# a fit and two trainings, on a machine that may be busy
pytestmark = [pytest.mark.slow, pytest.mark.timeout(1800)]
CPU, SHOPPERS = torch.device("cpu"), 8_000
SMALL = [
    "log.num_sessions=3000",
    "world.num_items=60",
    "num_slots=5",
    "user_model.model.hidden=32",
    "user_model.model.num_tastes=8",
    "user_model.fit.epochs=1",
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
    settings, folder = compose("train", *SMALL), tmp_path_factory.mktemp("offline")
    log, reader, _ = prepare_log(settings["log"], folder, {})
    fitted = {**settings["user_model"], "num_slots": settings["num_slots"]}
    model = prepare_model(log, reader, fitted, folder, CPU, {})[0]
    world, logging = true_side(reader, CPU)
    assert logging is not None
    specs = shop_specs(model, world, settings["num_slots"])
    offered = resources(model, log.sessions(), settings["num_slots"], seed=0)
    paid_S = torch.from_numpy(log.steps.paid)
    return Shop(specs["learned"], specs["true"], log.sessions(), paid_S, logging, offered)


Earned = Callable[[str], Tensor]


@pytest.fixture(scope="module")
def earned(shop: Shop, tmp_path_factory: pytest.TempPathFactory) -> Earned:
    """Expected revenue of each session, [B], by the policy's name; the same shoppers for all.

    Every agent learns from the same 20,000 pages of the log, when it is first asked for.
    """

    @cache
    def found(name: str) -> Tensor:
        if name == "logging":
            return worth(shop, shop.logging)
        agent = make_agent(agent_settings(name), shop.offered)
        core = LoggedCore(shop.learned, shop.sessions, shop.paid_S, revenue, num_envs=256)
        folder = tmp_path_factory.mktemp(name)
        with Logger(folder) as logger:
            given = {"steps": 15_000, "seed": 0, "logger": logger, "folder": folder}
            train(agent, core, behaviour=core, **given)
        return worth(shop, agent)

    return found


def worth(shop: Shop, policy: Policy) -> Tensor:
    return play(shop.true, policy, SHOPPERS, 0, CPU).stats.credited_revenue.double()


def gain(earned: Earned, name: str, other: str) -> tuple[float, float]:
    """Mean and lower end of a 95 % interval, currency units a session."""
    gain_B = earned(name) - earned(other)
    mean, error = float(gain_B.mean()), float(gain_B.std()) / len(gain_B) ** 0.5
    return mean, mean - 1.96 * error


@pytest.mark.parametrize("name", ["cql", "bcq"])
def test_it_earns_more_than_the_policy_that_wrote_the_log(name: str, earned: Earned) -> None:
    # Why: this is what learning from a log is for, and only the truth can tell. The values of CQL
    # and BCQ begin at what the fitted model expects, which by itself earns as much: of them this
    # holds that rare and noisy payments do not lead astray; that they learn, test_agents holds.
    mean, low = gain(earned, name, "logging")
    assert low > 0.0, (mean, low)
