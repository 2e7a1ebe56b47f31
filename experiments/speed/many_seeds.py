"""The figure of many seeds in one batch, against one of them."""

from __future__ import annotations

import statistics
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

from agents import loop
from agents.dqn import DQN
from agents.logger import Logger
from agents.ppo import PPO
from experiments.speed.figure import Figure
from experiments.speed.learning import default_lanes, offered
from experiments.speed.setting import SLOTS, Setting
from experiments.speed.stepping import learned_of
from experiments.speed.timing import interleaved
from recgym.envs.core import open_core

SEEDS = 10
STEPS = 8  # of all lanes in a timed call: a horizon of PPO


def ten_seeds(setting: Setting) -> Figure:
    """Time of ten seeds in one batch / time of one."""
    with tempfile.TemporaryDirectory() as folder, Logger(Path(folder)) as logger:
        works = {
            f"{name} {count}": _training(kind, setting, count, logger, Path(folder))
            for name, kind in (("dqn", DQN), ("ppo", PPO))
            for count in (1, SEEDS)
        }
        taken = interleaved(works, setting)
    ratio = {
        name: [ten / one for ten, one in zip(taken[f"{name} {SEEDS}"], taken[f"{name} 1"],
                                             strict=True)]
        for name in ("dqn", "ppo")
    }  # fmt: skip
    return Figure(
        figure="ten_seeds",
        values=ratio["dqn"],
        unit="time of ten seeds ÷ of one",
        goal="at most 3 on a GPU, 6 on a CPU",
        settings={
            "lanes": setting.lanes_or(default_lanes()),
            "items": setting.items,
            "ppo": statistics.median(ratio["ppo"]),
            "seconds_a_step": {
                name: statistics.median(values) / STEPS for name, values in taken.items()
            },
        },
    )


def _training(
    kind: type[Any], setting: Setting, count: int, logger: Logger, folder: Path
) -> Callable[[], None]:
    lanes, shop = setting.lanes_or(default_lanes()), learned_of(setting)
    core = open_core(shop, num_envs=count * lanes, num_slots=SLOTS, reward="chosen_revenue")
    agent = kind(**offered(core), num_seeds=count)
    memory = getattr(agent, "replay", None)
    if memory is not None and setting.learning_starts is not None:
        agent.learning_starts = setting.learning_starts

    def trained() -> None:
        loop.train(agent, core, steps=lanes * STEPS, seed=0, logger=logger, folder=folder)

    while memory is not None and memory.size < agent.learning_starts:
        trained()
    return trained
