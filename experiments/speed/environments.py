"""Figures of the Gymnasium environments, beside the simulator alone."""

from __future__ import annotations

import statistics
import time
from itertools import cycle

import torch

from experiments.speed import shops
from experiments.speed.figure import Figure
from experiments.speed.setting import SLOTS, Setting
from experiments.speed.stepping import LANES, SLATES, Stepping, learned_of, simulator_of
from experiments.speed.timing import interleaved, medians, parts_of
from recgym.envs.single import RecEnv
from recgym.envs.vector import RecVectorEnv


def vector_env(setting: Setting) -> Figure:
    """Steps/s of the Gymnasium vector environment beside those of the simulator alone."""
    lanes = setting.lanes_or(LANES)
    shop = learned_of(setting)
    stepping = Stepping(simulator_of(shop), lanes)
    env = RecVectorEnv(shop, num_envs=lanes, num_slots=SLOTS)
    env.reset(seed=0)
    actions = cycle(
        [shops.slates(setting.items, lanes, SLOTS, seed).numpy() for seed in range(SLATES)]
    )
    taken = interleaved({"simulator": stepping, "env": lambda: env.step(next(actions))}, setting)
    core, shell = env.shell.core, env.shell
    parts = parts_of(
        lambda: env.step(next(actions)),
        [
            (core.simulator, "step", "simulator"),
            (core.simulator, "page", "simulator"),
            (core.simulator, "renew", "refill"),
            (core.spec, "observe", "observation"),
            (shell, "decoded", "actions in"),
            (env, "_info", "infos out"),
        ],
        setting,
        rest="arrays and bookkeeping",
    )
    values = [lanes / passed for passed in taken["env"]]
    limit = lanes / medians(taken)["simulator"]
    return Figure(
        figure="vector_env",
        values=values,
        unit="steps/s",
        limit=limit,
        ratio=statistics.median(values) / limit,
        goal=f"ratio at least {1 / 1.15:.2f}: at most 15 % on top of the simulator",
        settings={
            "lanes": lanes,
            "slots": SLOTS,
            "items": setting.items,
            "hidden": setting.hidden,
            "on_top": limit / statistics.median(values) - 1.0,
            "parts": parts,
        },
    )


def single_env(setting: Setting) -> Figure:
    """Steps/s of the single Gymnasium environment, resets included."""
    return _single("single_env", setting, compile=False)


def single_env_compiled(setting: Setting) -> Figure:
    """The same through `torch.compile`."""
    return _single("single_env_compiled", setting, compile=True)


def _single(name: str, setting: Setting, *, compile: bool) -> Figure:
    threads = torch.get_num_threads()
    torch.set_num_threads(1)  # one shopper is too little work to be shared
    try:
        return _of_one_shopper(name, setting, compile)
    finally:
        torch.set_num_threads(threads)


def _of_one_shopper(name: str, setting: Setting, compile: bool) -> Figure:
    begun = time.perf_counter()
    env = RecEnv(learned_of(setting), num_slots=SLOTS, compile=compile)
    env.reset(seed=0)
    actions = cycle(shops.slates(setting.items, 256, SLOTS).numpy())
    episodes = 0

    def step() -> None:
        nonlocal episodes
        _, _, terminated, truncated, _ = env.step(next(actions))
        if terminated or truncated:
            episodes += 1
            env.reset()

    step()
    first = time.perf_counter() - begun
    taken = interleaved({"env": step}, setting)
    return Figure(
        figure=name,
        values=[1.0 / passed for passed in taken["env"]],
        unit="steps/s",
        goal="at least 1,500 steps/s",
        settings={
            "slots": SLOTS,
            "items": setting.items,
            "hidden": setting.hidden,
            "resets": episodes,
            "num_threads": 1,
            "seconds_until_first_step": round(first, 2),
        },
    )
