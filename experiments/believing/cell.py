"""One cell: a shop's log, its fits, an agent in each shop, and what all policies are worth."""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from omegaconf import OmegaConf

from agents.evaluate import write_json
from agents.fixed import fixed_rules
from agents.logger import Logger
from agents.train import train
from agents.valuing import honest_policies, make_agent, resources, seeing, true_side
from experiments.believing.effects import effects, errors, naive_elasticity
from experiments.believing.values import Values, values_of
from recgym import progress
from recgym.confounding import is_confounded
from recgym.envs.core import ShopCore
from recgym.logs.base import Log
from recgym.simulator import Simulator
from recgym.spaces import ObservationSpec
from recgym.stages import key_of, prepare_log, prepare_model
from recgym.types import Policy
from recgym.users.base import Shoppers
from recgym.users.lstm import LSTMUserModel
from recgym.worlds.base import TrueShop

SCHEMA_VERSION = 1
KINDS = (
    "lstm",
    "page_blind",
    "item_clicks",
)  # user models, of which the first is meant to be right
SEED_OF_EFFECTS = 7
AGENT, IN_TRUTH, CEILING = "dqn", "dqn, trained in truth", "ceiling"


@dataclass(frozen=True)
class CellSettings:
    """What decides a cell."""

    world: str
    seed: int  # of the log, the fit and the agent
    log: Mapping[str, Any]
    user_models: Mapping[str, Mapping[str, Any]]  # by kind
    agent: Mapping[str, Any]
    num_slots: int
    steps: int  # of an agent's training
    oracle_times: int  # as many times the steps for the ceiling; 0 leaves it out
    num_envs: int
    sessions: int  # for each policy and shop
    effect_sessions: int

    def key(self) -> str:
        """A name for the cell's files."""
        return f"{self.world}-{self.seed}-{key_of({'version': SCHEMA_VERSION, **vars(self)})}"


def specs_of(shop: Shoppers, encoder: LSTMUserModel | None, num_slots: int) -> ObservationSpec:
    """Observations that a site has: the encoder's where there is one, else the last views."""
    simulator = Simulator(shop, encoder=encoder, num_slots=num_slots)
    return ObservationSpec(simulator, "history" if encoder is None else "encoder")


def run_cell(cell: CellSettings, folder: Path, cache: Path, device: torch.device) -> dict[str, Any]:
    """The cell's result, from its file where it was run before."""
    target = folder / f"{cell.key()}.json"
    if target.exists():
        found: dict[str, Any] = json.loads(target.read_text())
        return found
    seconds: dict[str, float] = {}
    log, reader, _ = prepare_log(cell.log, cache, seconds)
    world, logging = true_side(reader, device)
    assert world is not None
    sessions = log.sessions()
    models: dict[str, LSTMUserModel] = {}
    reports: dict[str, Any] = {}
    for kind in KINDS:
        settings = {**cell.user_models[kind], "num_slots": cell.num_slots}
        spent: dict[str, float] = {}
        models[kind], reports[kind], model_folder, _ = prepare_model(
            log, reader, settings, cache, device, spent
        )
        if kind == "lstm":
            _leave_fit(cell, folder / "fits" / cell.key(), model_folder, log)
        seconds[f"fit_{kind}"] = spent["fit"]
    offered = resources(models["lstm"], sessions, cell.num_slots, cell.seed)
    agents = _agents(cell, models["lstm"], world, offered, folder, seconds)
    rules: dict[str, Policy] = {
        **honest_policies(offered),
        **fixed_rules(offered["views_I"], num_slots=cell.num_slots),
    }
    if logging is not None and not is_confounded(logging):
        rules["logging"] = logging
    learned = {name: agent for name, agent in agents.items() if name == AGENT}
    with progress.stage("values", cell.sessions * (2 * len(rules) + 8 + 2 * len(rules)), seconds):
        values = {
            "true": _true_values(cell, world, models["lstm"], rules, agents, offered, logging),
            "lstm": _claims(cell, models["lstm"], {**rules, **learned}),
        }
        for kind in KINDS[1:]:
            values[kind] = _claims(cell, models[kind], _alike(rules))
    with progress.stage("effects", 1.0, seconds):
        result = {
            "schema_version": SCHEMA_VERSION,
            "world": cell.world,
            "seed": cell.seed,
            "sessions": cell.sessions,
            "log_sessions": cell.log["num_sessions"],
            "effects": _effects(cell, world, models),
            "naive_elasticity": naive_elasticity(sessions),
            "on_policy": reports["lstm"]["on_policy"],
            "page_weight": float(models["lstm"].page_weight.detach()),
            "values": {kind: value.mean() for kind, value in values.items()},
            "seconds": {name: round(value, 1) for name, value in seconds.items()},
        }
    for kind, value in values.items():
        value.save(folder / f"{cell.key()}-{kind}.npz")
    write_json(target, result)
    return result


def _leave_fit(cell: CellSettings, folder: Path, model_folder: Path, log: Log) -> None:
    """A folder that ``python -m recgym.fidelity run=FOLDER`` takes."""
    folder.mkdir(parents=True, exist_ok=True)
    OmegaConf.save({"log": cell.log, "num_slots": cell.num_slots}, folder / "config.yaml")
    shutil.copytree(model_folder, folder / "model", dirs_exist_ok=True)
    write_json(folder / "fit.json", {"log": {"folder": str(log.folder), **log.meta}})


def _agents(
    cell: CellSettings,
    model: LSTMUserModel,
    world: TrueShop,
    offered: dict[str, Any],
    folder: Path,
    seconds: dict[str, float],
) -> dict[str, Any]:
    """The agent trained in the learned shop, the same in the true one, and the ceiling."""
    places: dict[str, tuple[Shoppers, int]] = {
        "dqn": (model, 1),
        "dqn, trained in truth": (world, 1),
    }
    if cell.oracle_times:
        places[CEILING] = (world, cell.oracle_times)
    agents = {}
    for name, (shop, times) in places.items():
        spec = specs_of(shop, model, cell.num_slots)
        spec.simulator.expected_revenue = False
        core = ShopCore(spec, "chosen_revenue", num_envs=cell.num_envs, max_pages=100)
        agents[name] = make_agent(cell.agent, offered)
        runs = folder / "runs" / f"{cell.key()}-{name.replace(' ', '-').replace(',', '')}"
        with progress.stage(name, cell.steps * times, seconds), Logger(runs) as logger:
            train(
                agents[name],
                core,
                steps=cell.steps * times,
                seed=cell.seed,
                logger=logger,
                checkpoint=runs / "agent.pt",
            )
    return agents


def _alike(rules: dict[str, Policy]) -> dict[str, Policy]:
    """The policies that read no user model."""
    return {name: rule for name, rule in rules.items() if name != "greedy"}


def _claims(cell: CellSettings, model: LSTMUserModel, policies: dict[str, Policy]) -> Values:
    spec = specs_of(model, model, cell.num_slots)
    return values_of(
        {name: (spec, policy) for name, policy in policies.items()}, cell.sessions, cell.seed
    )


def _true_values(
    cell: CellSettings,
    world: TrueShop,
    model: LSTMUserModel,
    rules: dict[str, Policy],
    agents: dict[str, Any],
    offered: dict[str, Any],
    logging: Policy | None,
) -> Values:
    plain, encoded = (specs_of(world, encoder, cell.num_slots) for encoder in (None, model))
    policies = {name: (plain, rule) for name, rule in _alike(rules).items()}
    policies["greedy"] = encoded, rules["greedy"]
    policies |= {name: (encoded, agent) for name, agent in agents.items()}
    return values_of({**policies, **seeing(world, logging, offered)}, cell.sessions, cell.seed)


def _effects(
    cell: CellSettings, world: TrueShop, models: dict[str, LSTMUserModel]
) -> dict[str, Any]:
    true = effects(world, cell.num_slots, cell.effect_sessions, SEED_OF_EFFECTS)
    found: dict[str, Any] = {"true": vars(true)}
    for kind, model in models.items():
        ours = effects(model, cell.num_slots, cell.effect_sessions, SEED_OF_EFFECTS)
        found[kind] = {**vars(ours), **errors(ours, true)}
    return found
