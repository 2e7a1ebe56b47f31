"""One cell: a policy, trained over all sessions of shoppers, and its values in the true shop."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from agents.valuing import make_agent, resources, true_side
from experiments.training import train_in
from experiments.values import NUM_BLOCKS, SEED_BASE
from recgym import progress
from recgym.envs.core import Transition
from recgym.files import beside
from recgym.logs.log import Log
from recgym.record import LAW_VERSION
from recgym.rollout import rollout
from recgym.simulator import Simulator
from recgym.spaces import ObservationSpec
from recgym.stages.log import key_of, prepare_log
from recgym.stages.model import prepare_model
from recgym.types import Observation
from recgym.users.base import Shoppers
from recgym.users.sequence import SequenceModel
from recgym.users.store import SCHEMA_VERSION as MODEL_VERSION
from recgym.worlds.base import TrueShop

SCHEMA_VERSION = 1
COLUMNS = ("revenue", "sessions")  # a shopper
PAGE, SESSION, SHOPPER = HORIZONS = ("page", "session", "shopper")  # the end of what counts


@dataclass(frozen=True)
class CellSettings:
    """What decides a cell."""

    policy: str  # its row
    until: str  # of `HORIZONS`
    long_term: bool  # whether the shop has any long-term effect
    learned: bool  # whether it is trained in the shop learned from the log, or in the true one
    settings: Mapping[str, Any]  # of the agent
    seed: int  # of the agent, and of the shoppers that it is trained and valued on
    log: Mapping[str, Any]
    user_model: Mapping[str, Any]  # with `num_slots`
    num_slots: int
    num_sessions: int
    steps: int
    num_envs: int
    shoppers: int

    def key(self) -> str:
        """A name for the cell's files; another law of shops or of models makes another cell."""
        versions = {"version": SCHEMA_VERSION, "law": LAW_VERSION, "model": MODEL_VERSION}
        effect = "on" if self.long_term else "off"
        effect += "-learned" if self.learned else ""
        return f"{effect}-{self.policy}-{self.seed}-{key_of({**versions, **vars(self)})}"


class SessionBound:
    """An agent to which each session is an episode: what follows it, if anything, is not its.

    Args:
        agent: which learns so; it meets the same shoppers in the same sessions as unbound.
    """

    def __init__(self, agent: Any) -> None:
        self.agent = agent

    def act(self, observation: Observation, *, explore: bool = False) -> Tensor:
        """As the agent does."""
        items: Tensor = self.agent.act(observation, explore=explore)
        return items

    def learn(
        self, observation: Observation, item_NK: Tensor, transition: Transition
    ) -> dict[str, Tensor]:
        """What the agent learns where leaving ends it all."""
        left_N = transition.outcome.left
        bound = replace(transition, terminated=left_N, truncated=transition.truncated & ~left_N)
        learned: dict[str, Tensor] = self.agent.learn(observation, item_NK, bound)
        return learned

    def state_dict(self, *, learning: bool = False) -> dict[str, Any]:
        """The agent's."""
        state: dict[str, Any] = self.agent.state_dict(learning=learning)
        return state

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """The agent's."""
        self.agent.load_state_dict(state)


@dataclass(frozen=True)
class Shop:
    """A true shop, and the fit to its log through which a site sees its shoppers."""

    world: TrueShop
    model: SequenceModel
    log: Log


@lru_cache(maxsize=1)  # cells come shop by shop
def _opened(text: str, cache: Path, device: torch.device) -> Shop:
    settings, seconds = json.loads(text), dict[str, float]()
    log, reader, _ = prepare_log(settings["log"], cache, seconds)
    model = prepare_model(log, reader, settings["user_model"], cache, device, seconds)[0]
    world, _ = true_side(reader, device)
    assert world is not None
    return Shop(world, model, log)


def blocks_of(
    cell: CellSettings, folder: Path, cache: Path, device: torch.device
) -> dict[str, NDArray[np.float64]]:
    """Means a shopper in NUM_BLOCKS blocks of shoppers, [J]; from their file where it exists."""
    target = folder / f"{cell.key()}.npz"
    if not target.exists():
        found = _measured(cell, folder / "runs" / cell.key(), cache, device)
        with beside(target) as place:
            np.savez(place, **found)  # type: ignore[arg-type]  # its stub takes them for a flag
    with np.load(target) as stored:
        return {name: stored[name] for name in COLUMNS}


def _measured(
    cell: CellSettings, runs: Path, cache: Path, device: torch.device
) -> dict[str, NDArray[np.float64]]:
    settings = json.dumps({"log": cell.log, "user_model": cell.user_model}, sort_keys=True)
    shop = _opened(settings, cache, device)
    spec = _spec(shop, shop.world, cell)
    offered = resources(shop.model, shop.log.sessions(), cell.num_slots, cell.seed)
    torch.manual_seed(cell.seed)
    agent = make_agent(cell.settings, {**offered, "num_features": spec.num_features})
    learns = hasattr(agent, "learn")
    with progress.stage(cell.key().rpartition("-")[0], cell.steps + cell.shoppers):
        train_in(
            _spec(shop, shop.model, cell) if cell.learned else spec,
            SessionBound(agent) if cell.until == SESSION and learns else agent,
            steps=cell.steps,
            num_envs=cell.num_envs,
            seed=cell.seed,
            folder=runs,
        )
        seed_B = SEED_BASE + (cell.seed << 32) + torch.arange(cell.shoppers, device=device)
        stats = rollout(spec, agent, seed_B, torch.zeros_like(seed_B), progress=progress.advance)
    assert stats.sessions is not None
    edges = np.linspace(0, cell.shoppers, NUM_BLOCKS + 1).astype(int)
    columns = zip(COLUMNS, (stats.credited_revenue, stats.sessions), strict=True)
    return {
        name: np.add.reduceat(value.double().cpu().numpy(), edges[:-1]) / np.diff(edges)
        for name, value in columns
    }


def _spec(shop: Shop, shoppers: Shoppers, cell: CellSettings) -> ObservationSpec:
    simulator = Simulator(
        shoppers, encoder=shop.model, num_slots=cell.num_slots, num_sessions=cell.num_sessions
    )
    return ObservationSpec(simulator, "encoder")
