"""One cell: a shop's log, its fits, agents in each shop, and what all policies are worth."""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from omegaconf import OmegaConf

from agents.fixed import fixed_rules
from agents.valuing import (
    honest_policies,
    make_agent,
    resources,
    seeing,
    shop_specs,
    true_side,
)
from experiments.believing.effects import effects, errors, naive_elasticity
from experiments.believing.names import (
    AGENT,
    CEILING,
    CURED,
    GREEDY,
    IN_TRUTH,
    KINDS,
    LOGGING,
    NOTHING,
    RIGHT,
    SCORED,
    TRAINED,
    TRUE,
    WRONG,
)
from experiments.believing.second import foreseen
from experiments.training import train_in
from experiments.values import Play, values_of
from recgym import progress
from recgym.confounding import is_confounded
from recgym.files import write_json
from recgym.logs.base import Log
from recgym.record import LAW_VERSION
from recgym.spaces import ObservationSpec
from recgym.stages.log import key_of, prepare_log
from recgym.stages.model import prepare_members, prepare_model
from recgym.types import Policy
from recgym.users.ensemble import Halves, halves
from recgym.users.sequence import SequenceModel
from recgym.users.store import SCHEMA_VERSION as MODEL_VERSION
from recgym.users.store import load_model
from recgym.worlds.base import TrueShop
from recgym.worlds.truth import observable_spec

SCHEMA_VERSION = 5
SEED_OF_EFFECTS = 7
SECOND_SESSIONS = 10_000  # of another logging policy, which the fits foresee step by step


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
    pessimism: float  # of the cured agent: times what the members of its half part over
    oracle_times: int  # as many times the steps for the ceiling; 0 leaves it out
    num_envs: int
    sessions: int  # for each policy and shop
    effect_sessions: int

    def key(self) -> str:
        """A name for the cell's files; another law of shops or of models makes another cell."""
        versions = {"version": SCHEMA_VERSION, "law": LAW_VERSION, "model": MODEL_VERSION}
        return f"{self.world}-{self.seed}-{key_of({**versions, **vars(self)})}"


@dataclass(frozen=True)
class Fits:
    """The user models of a cell, and what their reports say."""

    models: dict[str, SequenceModel]  # by kind
    split: Halves | None
    on_policy: dict[str, Any]
    folder: Path  # of the one that is meant to be right


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
    fits = _fits(cell, log, reader, cache, device, seconds)
    _leave_fit(cell, folder / "fits" / cell.key(), fits.folder, log)
    offered = resources(fits.models[RIGHT], sessions, cell.num_slots, cell.seed)
    agents = _agents(cell, fits, world, offered, folder, seconds)
    rules: dict[str, Policy] = {
        **honest_policies(offered),
        **fixed_rules(offered["views_I"], world.catalog.feature, num_slots=cell.num_slots),
    }
    if logging is not None and not is_confounded(logging):
        rules[LOGGING] = logging
    plays = _plays(cell, fits, world, rules, agents)
    plays[TRUE] |= seeing(world, logging, offered)
    with progress.stage("values", cell.sessions * sum(map(len, plays.values())), seconds):
        values = {
            shop: values_of(policies, cell.sessions, cell.seed) for shop, policies in plays.items()
        }
    with progress.stage("effects", 1.0, seconds):
        result = {
            "schema_version": SCHEMA_VERSION,
            "model_version": MODEL_VERSION,
            "world": cell.world,
            "seed": cell.seed,
            "sessions": cell.sessions,
            "log_sessions": cell.log["num_sessions"],
            "effects": _effects(cell, world, fits.models),
            "naive_elasticity": naive_elasticity(sessions),
            "second_policy": foreseen(
                fits.models, world, cell.num_slots, min(cell.sessions, SECOND_SESSIONS)
            ),
            "on_policy": fits.on_policy,
            "page_weight": float(fits.models[RIGHT].answers.page_weight.detach()),
            "values": {shop: value.mean() for shop, value in values.items()},
            "seconds": {name: round(value, 1) for name, value in seconds.items()},
        }
    for shop, value in values.items():
        value.save(values_file(folder, cell, shop))
    write_json(target, result)
    return result


def values_file(folder: Path, cell: CellSettings, shop: str) -> Path:
    """Where the values of one shop's policies lie."""
    return folder / f"{cell.key()}-{shop}.npz"


def _fits(
    cell: CellSettings,
    log: Log,
    reader: Any,
    cache: Path,
    device: torch.device,
    seconds: dict[str, float],
) -> Fits:
    models, reports, folders = {}, {}, {}
    for kind in KINDS:
        settings = {**cell.user_models[kind], "num_slots": cell.num_slots}
        spent: dict[str, float] = {}
        models[kind], reports[kind], folders[kind], _ = prepare_model(
            log, reader, settings, cache, device, spent
        )
        seconds[f"fit_{kind}"] = spent["fit"]
    settings = {**cell.user_models[RIGHT], "num_slots": cell.num_slots}
    places = prepare_members(log, reader, settings, cache, device, seconds)
    split = halves([load_model(place, device) for place in places])
    return Fits(models, split, reports[RIGHT]["on_policy"], folders[RIGHT])


def _leave_fit(cell: CellSettings, folder: Path, model_folder: Path, log: Log) -> None:
    """A folder that ``python -m recgym.fidelity run=FOLDER`` takes."""
    folder.mkdir(parents=True, exist_ok=True)
    OmegaConf.save({"log": cell.log, "num_slots": cell.num_slots}, folder / "config.yaml")
    shutil.copytree(model_folder, folder / "model", dirs_exist_ok=True)
    write_json(folder / "fit.json", {"log": {"folder": str(log.folder), **log.meta}})


def _agents(
    cell: CellSettings,
    fits: Fits,
    world: TrueShop,
    offered: dict[str, Any],
    folder: Path,
    seconds: dict[str, float],
) -> dict[str, Any]:
    """The agent trained in each shop where it can be."""
    model, slots = fits.models[RIGHT], cell.num_slots
    in_truth = shop_specs(model, world, slots)[TRUE]
    places = {AGENT: (shop_specs(model, None, slots)["learned"], 1), IN_TRUTH: (in_truth, 1)}
    if fits.split:
        places[CURED] = shop_specs(model, None, slots, fits.split)["learned"], 1
    if cell.oracle_times:
        places[CEILING] = in_truth, cell.oracle_times
    agents = {}
    for name, (spec, times) in places.items():
        agents[name] = make_agent(cell.agent, offered)
        runs = folder / "runs" / f"{cell.key()}-{name.replace(' ', '-').replace(',', '')}"
        with progress.stage(name, cell.steps * times, seconds):
            train_in(
                spec,
                agents[name],
                steps=cell.steps * times,
                num_envs=cell.num_envs,
                seed=cell.seed,
                folder=runs,
                pessimism=cell.pessimism if name == CURED else None,
            )
    return agents


def _plays(
    cell: CellSettings,
    fits: Fits,
    world: TrueShop,
    rules: dict[str, Policy],
    agents: dict[str, Any],
) -> dict[str, dict[str, Play]]:
    """Shop, then policy: what it sees there, and itself.

    Only greedy and the agents read the user model, which need not run along for the others.
    """
    model, slots = fits.models[RIGHT], cell.num_slots
    alike = {name: rule for name, rule in rules.items() if name != GREEDY}
    reading: dict[str, Policy] = {GREEDY: rules[GREEDY], **agents}
    own = {kind: shop_specs(fits.models[kind], None, slots)["learned"] for kind in KINDS}
    encoded = shop_specs(model, world, slots, fits.split)
    plays = {
        TRUE: {
            **_through(observable_spec(world, slots), alike),
            **_through(encoded[TRUE], reading),
        },
        RIGHT: _through(own[RIGHT], {**rules, AGENT: agents[AGENT]}),
        **{kind: _through(own[kind], alike) for kind in WRONG},
    }
    if fits.split:
        cured = {NOTHING: rules[NOTHING], CURED: agents[CURED]}
        claimed = {name: reading[name] for name in (GREEDY, AGENT, CURED)}
        plays[TRAINED] = _through(encoded["learned"], cured)
        plays[SCORED] = {
            **_through(observable_spec(fits.split.scoring, slots), alike),
            **_through(encoded["scored"], claimed),
        }
    return plays


def _through(spec: ObservationSpec, policies: Mapping[str, Policy]) -> dict[str, Play]:
    return {name: (spec, policy) for name, policy in policies.items()}


def _effects(
    cell: CellSettings, world: TrueShop, models: dict[str, SequenceModel]
) -> dict[str, Any]:
    true = effects(world, cell.num_slots, cell.effect_sessions, SEED_OF_EFFECTS)
    found: dict[str, Any] = {TRUE: vars(true)}
    for kind, model in models.items():
        ours = effects(model, cell.num_slots, cell.effect_sessions, SEED_OF_EFFECTS)
        found[kind] = {**vars(ours), **errors(ours, true)}
    return found
