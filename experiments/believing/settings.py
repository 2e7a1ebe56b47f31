"""What decides a cell, and what decides each of its parts beyond that."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from experiments.believing.names import CEILING, CURED, RIGHT, WRONG
from recgym.record import LAW_VERSION
from recgym.stages.log import key_of
from recgym.users.store import SCHEMA_VERSION as MODEL_VERSION

SCHEMA_VERSION = 6


@dataclass(frozen=True)
class CellSettings:
    """A shop with its log and fit, and how policies are trained and valued there."""

    world: str
    seed: int  # of the log, the fit and the agent
    log: Mapping[str, Any]
    user_models: Mapping[str, Mapping[str, Any]]  # by kind, without members of an ensemble
    agent: Mapping[str, Any]
    num_slots: int
    steps: int  # of an agent's training
    num_envs: int
    sessions: int  # for each policy and shop
    effect_sessions: int
    members: int  # of the ensemble, of which one half trains the cured agent
    pessimism: float  # of the cured agent: times what the members of its half part over
    oracle_times: int  # as many times the steps for the ceiling

    def key(self) -> str:
        """A name for the cell's folder; another law of shops or of models makes another cell."""
        versions = {"version": SCHEMA_VERSION, "law": LAW_VERSION, "model": MODEL_VERSION}
        apart = {"user_models", "members", "pessimism", "oracle_times"}
        decided = {name: value for name, value in vars(self).items() if name not in apart}
        decided["user_model"] = self.user_models[RIGHT]
        return f"{self.world}-{self.seed}-{key_of({**versions, **decided})}"

    def key_of_part(self, name: str) -> str:
        """What decides a part beyond its cell."""
        own: dict[str, Any] = {kind: self.user_models[kind] for kind in WRONG if kind == name}
        if name == CURED:
            own = {"members": self.members, "pessimism": self.pessimism}
        if name == CEILING:
            own = {"times": self.oracle_times}
        return key_of({"part": name, **own})
