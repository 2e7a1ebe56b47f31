"""How experiments train an agent: on the money that its chosen items bring.

One that learns from a log's own pages (``from_log``) gets those of the shop's log.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from agents.base import Lanes
from agents.logged import logged_core
from agents.logger import Logger
from agents.loop import train
from recgym.envs.core import MAX_PAGES, ShopCore
from recgym.errors import UserError
from recgym.logs.log import Log
from recgym.reward import pessimistic, reward_named
from recgym.spaces import ObservationSpec

REWARD = "chosen_revenue"


def train_in(
    spec: ObservationSpec,
    agent: Any,
    *,
    steps: int,
    num_envs: int,
    seed: int,
    folder: Path,
    pessimism: float | None = None,
    log: Log | None = None,
) -> int:
    """Train in the shop behind ``spec``; returns the environment steps taken, 0 if it cannot learn.

    Args:
        spec: what it sees; values are read through it afterwards.
        agent: as it was made.
        steps: environment steps, of all lanes together.
        num_envs: lanes.
        seed: of the shoppers.
        folder: of the run.
        pessimism: times what the members of an ensemble part over, taken from the reward; None
            where the shop is no ensemble.
        log: of the shop, for agents that learn from its pages.

    Raises:
        UserError: of an agent that is made for a log's own pages where there is no ``log``.
    """
    if not hasattr(agent, "learn"):
        return 0
    from_log = getattr(agent, "from_log", False)
    if from_log and log is None:
        raise UserError(
            f"{type(agent).__name__} learns from a log's own pages, and this experiment trains on "
            "pages that the agent fills: leave it out."
        )
    simulator, reward = spec.simulator, reward_named(REWARD)
    simulator.doubt = pessimism is not None
    if pessimism is not None:
        reward = pessimistic(reward, pessimism)
    played = None
    if from_log and log is not None:
        played = logged_core(spec, log, reward, num_envs=num_envs)
    core: Lanes = played or ShopCore(spec, reward, num_envs=num_envs, max_pages=MAX_PAGES)
    with Logger(folder) as logger:
        taken = train(
            agent, core, steps=steps, seed=seed, logger=logger, folder=folder, behaviour=played
        )
    simulator.doubt = False
    return taken
