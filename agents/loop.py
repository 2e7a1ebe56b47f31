"""The one training loop: act, step, learn; log; and leave what a killed run goes on from."""

from __future__ import annotations

from pathlib import Path
from pickle import UnpicklingError
from typing import Any

import torch

from agents import ranks
from agents.base import Agent, Lanes
from agents.logger import Logger
from agents.seeds import lane_seeds
from recgym import progress
from recgym.errors import UserError
from recgym.files import beside
from recgym.types import Policy

SEED_BASE = 1 << 50  # of training's shoppers, apart from those of logs and evaluation
LOG_EVERY = 20  # steps of all lanes between two points of a curve
HISTOGRAMS = 10  # of a run, of each kind: they show how a distribution moves
AGENT = "agent.pt"  # what acting needs
PROGRESS = "resume.pt"  # all of a run that is not over: agent, memory, schedules, shoppers


def train(
    agent: Agent,
    core: Lanes,
    *,
    steps: int,
    seed: int,
    logger: Logger,
    folder: Path,
    checkpoint_steps: int | None = None,
    resume: bool = False,
    behaviour: Policy | None = None,
) -> int:
    """Train, and leave the agent in ``folder``; returns the environment steps taken.

    The last state stays there too, so that what comes after training may be killed as well.

    Args:
        agent: as it was made.
        core: of the shop, or of the log; not yet reset.
        steps: environment steps, of all lanes of one agent together.
        seed: of the shoppers; with ``agent.num_seeds`` of those of the first of them.
        logger: of the curves.
        folder: of the run.
        checkpoint_steps: environment steps between two states to resume from; None: none are left.
        resume: whether to go on from the state in ``folder``, where there is one; else that of an
            earlier run is removed.
        behaviour: who fills the pages that the agent learns from; None: the agent, exploring.
    """
    if not resume:
        (folder / PROGRESS).unlink(missing_ok=True)
    num_seeds = getattr(agent, "num_seeds", 1)
    lanes = core.num_envs // num_seeds * ranks.size()  # of one agent, those of other ranks too
    first_seed = SEED_BASE + (seed << 32) + core.num_envs * ranks.rank()
    many = lane_seeds(SEED_BASE, seed, num_seeds, core.num_envs) if num_seeds > 1 else None
    core.reset(first_seed if many is None else many)
    num_updates = max(1, steps // lanes)
    spread = -(-num_updates // HISTOGRAMS)
    first = _resumed(agent, core, folder / PROGRESS) if resume else 0
    if first:
        logger.go_on_from(first * lanes)
        progress.advance(first * lanes)
    observation, acting = core.observation, behaviour or agent
    for update in range(first, num_updates):
        item_NK = acting.act(observation, explore=True)
        transition = core.step(item_NK)
        learned = agent.learn(observation, item_NK, transition)
        observation = transition.observation
        taken = (update + 1) * lanes
        progress.advance(lanes)
        if update % LOG_EVERY == 0 or update == num_updates - 1:
            logger.scalars("agent", learned, taken)
            logger.scalar("train/reward", transition.reward.mean(), taken)
            clicked = transition.outcome.clicked.float().mean()
            logger.scalar("train/clicks_per_page", clicked, taken)
            logger.scalar("train/orders_per_page", transition.outcome.bought.mean(), taken)
            logger.speed(taken)
        if update % spread == 0:
            _distributions(agent, observation, transition, logger, taken)
        due = checkpoint_steps and taken % checkpoint_steps < lanes
        if due or (checkpoint_steps and update == num_updates - 1):
            state = {
                "update": update + 1,
                "agent": agent.state_dict(learning=True),
                "shoppers": core.state_dict(),
            }
            logger.flush()  # first, or a run that goes on from this state has a hole in its curves
            save(state, folder / PROGRESS)
    save(agent.state_dict(), folder / AGENT)
    return num_updates * lanes


def _distributions(
    agent: Agent, observation: Any, transition: Any, logger: Logger, taken: int
) -> None:
    """Prices that were shown and, of an agent that values its choices, what it says of all."""
    page = transition.outcome.page
    logger.histogram("shown/price", page.price[page.item >= 0], taken)
    values = getattr(agent, "q_values", None)
    if values is not None:
        logger.histogram("agent/q_values", values(observation), taken)


def save(state: dict[str, Any], path: Path) -> None:
    """Whole or not at all."""
    with beside(path) as place:
        torch.save(state, place)


def _resumed(agent: Agent, core: Lanes, path: Path) -> int:
    """Bring agent and shoppers to where the run was; the updates taken, 0 without a state."""
    if not path.exists():
        return 0
    try:
        state = torch.load(path, map_location=core.device, weights_only=True)
        agent.load_state_dict(state["agent"])
        core.load_state_dict(state["shoppers"])
    except (RuntimeError, KeyError, EOFError, ValueError, UnpicklingError) as error:
        line = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise UserError(
            f"{path} cannot be resumed from ({line}): expected the state of this run; remove the "
            "file to train anew."
        ) from error
    return int(state["update"])
