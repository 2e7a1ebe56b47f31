"""The mains in this process, with settings that take seconds."""

from __future__ import annotations

import copy
import sys
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import pytest
from hydra import compose as hydra_compose
from hydra import initialize_config_module
from hydra._internal.hydra import Hydra
from omegaconf import OmegaConf

CONF = Path(__file__).resolve().parents[1] / "conf"
FIT = [
    "user_model.model.hidden=8",
    "user_model.model.num_tastes=8",
    "user_model.model.embedding=4",
    "user_model.fit.epochs=1",
    "user_model.fit.least_updates=20",
    "user_model.on_policy.sessions=100",
    "user_model.on_policy.true_sessions=100",
    "num_slots=3",
    "device=cpu",
    "num_threads=1",
]
# sessions of two or three pages: what a fit and a roll-out cost is their longest
SHORT = "+world.intent_leave=[-0.2,-0.7,-0.7]"
WORLD = ["log.num_sessions=400", "world.num_items=30", SHORT]
TRAIN = [
    *FIT,
    "steps=960",
    "num_envs=32",
    "agent.learning_starts=64",
    "agent.batch_size=32",
    "evaluation.sessions=60",
]


def call(main: Callable[[], Any], *overrides: str) -> None:
    """Run a main as its command line would, with these overrides."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "argv", [f"{main.__module__}.py", *overrides])
        patch.setenv("HYDRA_FULL_ERROR", "1")
        if not any(text.startswith("experiment=") for text in overrides):
            # Hydra composes everything once more to ask for its mode, which only those YAMLs set
            patch.setattr(Hydra, "get_mode", lambda *_, **__: None)
        main()


def below(folder: Path, name: str = "run", cache: Path | None = None) -> list[str]:
    """Overrides that keep all files of a run below ``folder``, but for a ``cache`` of others."""
    return [
        f"cache_dir={cache or folder / 'cache'}",
        f"hydra.run.dir={folder / name}",
        f"hydra.sweep.dir={folder / name}",
    ]


def compose(name: str, *overrides: str) -> dict[str, Any]:
    """The config that a main would get, without what only a running job knows, as plain data."""
    return copy.deepcopy(_composed(name, *overrides))


@cache
def _composed(name: str, *overrides: str) -> dict[str, Any]:
    with initialize_config_module("conf", version_base="1.3"):
        running = ["agent_name=unknown", "env_name=unknown"] if name == "train" else []
        config = hydra_compose(name, [*running, *overrides])
    plain: Any = OmegaConf.to_container(config, resolve=True)
    return dict(plain)


def agent_settings(name: str) -> dict[str, Any]:
    """An entry of ``conf/agent`` alone: it composes to no other, see test_configs."""
    return copy.deepcopy(_agent_settings(name))


@cache
def _agent_settings(name: str) -> dict[str, Any]:
    plain: Any = OmegaConf.to_container(OmegaConf.load(CONF / "agent" / f"{name}.yaml"))
    return dict(plain)
