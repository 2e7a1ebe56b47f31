"""What the parts of a cell share: its shop, log and fit, opened where one first asks for them."""

from __future__ import annotations

import shutil
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
from omegaconf import OmegaConf

from agents.fixed import fixed_rules
from agents.folders import restore
from agents.loop import AGENT
from agents.valuing import honest_policies, make_agent, resources, shop_specs, true_side
from experiments.believing.names import LOGGING, RIGHT
from experiments.believing.settings import CellSettings
from experiments.training import train_in
from recgym import progress
from recgym.confounding import is_confounded
from recgym.errors import UserError
from recgym.files import write_json
from recgym.logs.base import ReaderBase
from recgym.logs.log import Log
from recgym.spaces import ObservationSpec
from recgym.stages.log import prepare_log
from recgym.stages.model import prepare_members, prepare_model
from recgym.types import Policy, Sessions
from recgym.users.ensemble import Halves, halves
from recgym.users.sequence import SequenceModel
from recgym.users.store import load_model
from recgym.worlds.base import TrueShop


class Stand:
    """The cell's shop, log, fit and policies.

    Args:
        settings: of the cell.
        folder: of the cell.
        cache: of logs and fits.
        device: to fit, train and play on.
    """

    def __init__(
        self, settings: CellSettings, folder: Path, cache: Path, device: torch.device
    ) -> None:
        self.settings, self.folder, self.cache, self.device = settings, folder, cache, device
        self.seconds: dict[str, float] = {}  # of what was done last, by name

    @cached_property
    def _log(self) -> tuple[Log, ReaderBase, Sessions]:
        log, reader, _ = prepare_log(self.settings.log, self.cache, self.seconds)
        return log, reader, log.sessions()

    @property
    def sessions(self) -> Sessions:
        """The log's."""
        return self._log[2]

    @cached_property
    def _truth(self) -> tuple[TrueShop, Policy | None]:
        world, logging = true_side(self._log[1], self.device)
        assert world is not None
        return world, logging

    @property
    def world(self) -> TrueShop:
        """The true shop."""
        return self._truth[0]

    @property
    def logging(self) -> Policy | None:
        """The policy that wrote the log."""
        return self._truth[1]

    def fit(self, kind: str) -> tuple[SequenceModel, dict[str, Any], Path]:
        """The user model of a kind, its report and its folder."""
        asked = {**self.settings.user_models[kind], "num_slots": self.settings.num_slots}
        spent: dict[str, float] = {}
        model, report, folder, _ = prepare_model(
            *self._log[:2], asked, self.cache, self.device, spent
        )
        self.seconds[f"fit_{kind}"] = spent["fit"]
        return model, report, folder

    def members(self) -> Halves:
        """An ensemble of the right kind, in halves."""
        asked = {**self.settings.user_models[RIGHT], "num_slots": self.settings.num_slots}
        asked["ensemble"] = {"members": self.settings.members}
        places = prepare_members(*self._log[:2], asked, self.cache, self.device, self.seconds)
        split = halves([load_model(place, self.device) for place in places])
        assert split is not None
        return split

    @cached_property
    def right(self) -> tuple[SequenceModel, dict[str, Any]]:
        """The fit that is meant to be right, through which a site sees its shoppers; its report."""
        model, report, folder = self.fit(RIGHT)
        self._leave(folder)
        return model, report

    @property
    def model(self) -> SequenceModel:
        """Of `right`."""
        return self.right[0]

    def _leave(self, model_folder: Path) -> None:
        """Make the cell's folder one that ``python -m recgym.fidelity run=FOLDER`` takes."""
        self.folder.mkdir(parents=True, exist_ok=True)
        described = {"log": self.settings.log, "num_slots": self.settings.num_slots}
        OmegaConf.save(described, self.folder / "config.yaml")
        shutil.copytree(model_folder, self.folder / "model", dirs_exist_ok=True)
        log = self._log[0]
        write_json(self.folder / "fit.json", {"log": {"folder": str(log.folder), **log.meta}})

    @cached_property
    def offered(self) -> dict[str, Any]:
        """What an agent may ask for by name."""
        slots, seed = self.settings.num_slots, self.settings.seed
        return resources(self.model, self.sessions, slots, seed)

    @cached_property
    def rules(self) -> dict[str, Policy]:
        """Honest policies, those fixed before any fit, and the log's own unless it sees taste."""
        slots, feature_IF = self.settings.num_slots, self.world.catalog.feature
        rules: dict[str, Policy] = {
            **honest_policies(self.offered),
            **fixed_rules(self.offered["views_I"], feature_IF, num_slots=slots),
        }
        if self.logging is not None and not is_confounded(self.logging):
            rules[LOGGING] = self.logging
        return rules

    def specs(self, split: Halves | None = None) -> dict[str, ObservationSpec]:
        """The shops as agents see them; see `shop_specs`."""
        return shop_specs(self.model, self.world, self.settings.num_slots, split)

    def trained(
        self, name: str, spec: ObservationSpec, times: int = 1, pessimism: float | None = None
    ) -> Any:
        """The cell's agent after ``times`` its steps in the shop behind ``spec``."""
        agent, steps = make_agent(self.settings.agent, self.offered), self.settings.steps * times
        with progress.stage(name, steps, self.seconds):
            train_in(
                spec,
                agent,
                steps=steps,
                num_envs=self.settings.num_envs,
                seed=self.settings.seed,
                folder=self.folder / "runs" / name,
                pessimism=pessimism,
            )
        return agent

    def restored(self, name: str) -> Any:
        """An agent that an earlier part has trained.

        Raises:
            UserError: if what it learned is not there any more.
        """
        agent, folder = make_agent(self.settings.agent, self.offered), self.folder / "runs" / name
        if hasattr(agent, "learn") and not (folder / AGENT).is_file():
            raise UserError(
                f"{folder / AGENT} is gone, without which {name} would be valued untrained: remove "
                f"{self.folder}, and the cell is run again."
            )
        restore(agent, folder, self.device)
        return agent
