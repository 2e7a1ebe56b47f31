"""The figure of our own training loop, beside simulator and learner alone."""

from __future__ import annotations

import math
import statistics
import tempfile
from collections.abc import Callable
from importlib.resources import files
from pathlib import Path
from typing import Any

from omegaconf import OmegaConf

from agents import loop
from agents.dqn import DQN
from agents.logger import Logger
from experiments.speed.figure import Figure, seconds
from experiments.speed.setting import SLOTS, Setting
from experiments.speed.stepping import Stepping, learned_of, simulator_of
from experiments.speed.timing import interleaved, medians
from recgym.envs.core import ShopCore, open_core

CART_PAID = 0.3  # the DQN's first guess of a cart's worth
UPDATES = (5, 2 * loop.LOG_EVERY)  # least and most of one timed call; a call also resets
CALL = 5.0  # a timed call lasts about so many times `Setting.least_seconds`


def default_lanes() -> int:
    """Of `agents.train`, as its config has it."""
    config = OmegaConf.create((files("conf") / "train.yaml").read_text(encoding="utf-8"))
    return int(config.num_envs)


def dqn(setting: Setting) -> Figure:
    """Steps/s of the training loop with the DQN."""
    lanes, shop = setting.lanes_or(default_lanes()), learned_of(setting)
    core = open_core(shop, num_envs=lanes, num_slots=SLOTS, reward="chosen_revenue")
    agent = DQN(
        user_model=shop,
        num_features=core.spec.num_features,
        num_slots=SLOTS,
        cart_paid=CART_PAID,
    )
    if setting.learning_starts is not None:
        agent.learning_starts = setting.learning_starts
    learn = _learner_alone(agent, core)
    while agent.replay.size < agent.learning_starts:
        learn()
    one = min(seconds(learn, repeats=2, sync=setting.sync()))
    updates = max(UPDATES[0], min(UPDATES[1], math.ceil(CALL * setting.least_seconds / one)))
    with tempfile.TemporaryDirectory() as folder, Logger(Path(folder)) as logger:

        def end_to_end() -> None:
            loop.train(
                agent, core, steps=lanes * updates, seed=0, logger=logger,
                folder=Path(folder),
            )  # fmt: skip

        return beside_its_parts(
            "dqn", lanes, updates, end_to_end, Stepping(simulator_of(shop), lanes), learn,
            setting,
            {
                "batch_size": agent.batch_size,
                "updates_a_step": agent.updates,
                "steps_a_call": updates,
            },
        )  # fmt: skip


def _learner_alone(agent: DQN, core: ShopCore) -> Callable[[], None]:
    """Act and learn on one stored transition, as often as one likes."""
    observation = core.reset(loop.SEED_BASE)
    item_NK = agent.act(observation, explore=True)
    transition = core.step(item_NK)

    def act_and_learn() -> None:
        agent.learn(observation, agent.act(observation, explore=True), transition)

    return act_and_learn


def beside_its_parts(
    name: str,
    lanes: int,
    steps_a_call: int,
    end_to_end: Callable[[], None],
    stepping: Stepping,
    learner: Callable[[], None],
    setting: Setting,
    told: dict[str, Any],
    *,
    learner_steps: int = 1,
) -> Figure:
    """The loop beside simulator and learner alone, added; `*_steps`: steps of all lanes a call."""
    taken = interleaved(
        {"end_to_end": end_to_end, "simulator": stepping, "learner": learner}, setting
    )
    middle = medians(taken)
    simulator, learned = middle["simulator"], middle["learner"] / learner_steps
    values = [lanes * steps_a_call / passed for passed in taken["end_to_end"]]
    limit = lanes / (simulator + learned)
    whole = lanes / statistics.median(values)
    return Figure(
        figure=name,
        values=values,
        unit="steps/s",
        limit=limit,
        ratio=statistics.median(values) / limit,
        goal="ratio at least 0.8 of what simulator and learner need alone, added",
        settings={
            "lanes": lanes,
            "items": setting.items,
            "hidden": setting.hidden,
            "parts": {
                "learner alone": learned,
                "simulator alone": simulator,
                "between them": whole - learned - simulator,
            },
            **told,
        },
    )
