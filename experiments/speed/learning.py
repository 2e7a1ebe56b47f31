"""Figures of our own training loop, beside simulator and learner alone."""

from __future__ import annotations

import dataclasses
import math
import statistics
import tempfile
import time
from collections.abc import Callable
from importlib.resources import files
from pathlib import Path
from typing import Any

from omegaconf import OmegaConf

from agents import loop
from agents.dqn import DQN
from agents.logger import Logger
from agents.ppo import PPO
from experiments.speed.figure import Figure, seconds
from experiments.speed.setting import SLOTS, Setting
from experiments.speed.stepping import Stepping, learned_of, simulator_of
from experiments.speed.timing import interleaved, medians
from recgym.envs.core import ShopCore, open_core

CART_PAID = 0.3  # the DQN's first guess of a cart's worth
UPDATES = (5, 2 * loop.LOG_EVERY)  # least and most of one timed call; a call also resets
STEPS_KEPT = 2  # of all lanes that a replay holds at least
CALL = 5.0  # a timed call lasts about so many times `Setting.least_seconds`


def default_lanes() -> int:
    """Of `agents.train`, as its config has it."""
    return _default("train.yaml", "num_envs")


def _default(file: str, name: str) -> int:
    config = OmegaConf.create((files("conf") / file).read_text(encoding="utf-8"))
    return int(OmegaConf.select(config, name))


def dqn(setting: Setting) -> Figure:
    """Steps/s of the training loop with the DQN."""
    return _dqn("dqn", setting, compile=False)


def dqn_compiled(setting: Setting) -> Figure:
    """The same compiled."""
    return _dqn("dqn_compiled", setting, compile=True)


def ppo(setting: Setting) -> Figure:
    """Steps/s of the training loop with our PPO."""
    return _ppo("ppo", setting, compile=False)


def ppo_compiled(setting: Setting) -> Figure:
    """The same compiled."""
    return _ppo("ppo_compiled", setting, compile=True)


def _dqn(name: str, setting: Setting, *, compile: bool) -> Figure:
    lanes, core = _core(setting, compile)
    capacity = max(_default("agent/dqn.yaml", "capacity"), STEPS_KEPT * lanes)
    agent = DQN(**offered(core), capacity=capacity)
    if setting.learning_starts is not None:
        agent.learning_starts = setting.learning_starts
    told = {"batch_size": agent.batch_size, "updates_a_step": agent.updates}
    return _trained(name, setting, agent, core, 1, told, compile)


def _ppo(name: str, setting: Setting, *, compile: bool) -> Figure:
    _, core = _core(setting, compile)
    agent = PPO(**offered(core))
    known = agent.settings
    told = {"horizon": known.horizon, "epochs": known.epochs, "minibatches": known.minibatches}
    return _trained(name, setting, agent, core, known.horizon, told, compile)


def _core(setting: Setting, compile: bool) -> tuple[int, ShopCore]:
    lanes, shop = setting.lanes_or(default_lanes()), learned_of(setting)
    core = open_core(
        shop, num_envs=lanes, num_slots=SLOTS, reward="chosen_revenue", compile=compile
    )
    return lanes, core


def offered(core: ShopCore) -> dict[str, Any]:
    """What each of our agents is made of."""
    return {
        "user_model": core.simulator.shop,
        "num_features": core.spec.num_features,
        "num_slots": SLOTS,
        "cart_paid": CART_PAID,
    }


def _trained(
    name: str,
    setting: Setting,
    agent: Any,
    core: ShopCore,
    whole: int,
    told: dict[str, Any],
    compile: bool,
) -> Figure:
    """The loop with this agent; a timed call is a multiple of ``whole`` steps of all lanes."""
    lanes, begun = core.num_envs, time.perf_counter()
    if compile:
        agent.compile()
    learn = _learner_alone(agent, core, whole)
    for _ in range(math.ceil(getattr(agent, "learning_starts", 0) / lanes / whole)):
        learn()
    one = min(seconds(learn, repeats=2, sync=setting.sync())) / whole
    wanted = max(UPDATES[0], min(UPDATES[1], math.ceil(CALL * setting.least_seconds / one)))
    steps = whole * math.ceil(wanted / whole)
    with tempfile.TemporaryDirectory() as folder, Logger(Path(folder)) as logger:

        def end_to_end() -> None:
            loop.train(agent, core, steps=lanes * steps, seed=0, logger=logger, folder=Path(folder))

        end_to_end()
        stepping = Stepping(simulator_of(learned_of(setting)), lanes, compile=compile)
        stepping()
        if compile:
            told = {**told, "seconds_before": time.perf_counter() - begun}
        return beside_its_parts(
            name, lanes, steps, end_to_end, stepping, learn, setting,
            {**told, "steps_a_call": steps}, learner_steps=whole,
        )  # fmt: skip


def _learner_alone(agent: Any, core: ShopCore, steps: int) -> Callable[[], None]:
    """Act and learn on one stored transition, this many times a call."""
    observation = core.reset(loop.SEED_BASE)
    item_NK = agent.act(observation, explore=True)
    transition = core.step(item_NK)

    def act_and_learn() -> None:
        for _ in range(steps):
            # a new record each time: an agent may remember what it found for the last one
            again = dataclasses.replace(observation)
            agent.learn(again, agent.act(again, explore=True), transition)

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
