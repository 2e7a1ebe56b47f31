"""One cell: an agent trained in a true shop, its time, and what it is worth there."""

from __future__ import annotations

import json
import time
import traceback
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import torch

from agents.logged import learns_from_log
from agents.valuing import make_agent, oracle_of, resources, shop_specs, true_side
from experiments.benchmarking import sb3
from experiments.training import train_in
from experiments.values import Play, values_of
from recgym import progress
from recgym.errors import UserError
from recgym.files import write_json
from recgym.logs.log import Log
from recgym.record import LAW_VERSION
from recgym.stages.log import key_of, prepare_log
from recgym.stages.model import prepare_model
from recgym.users.sequence import SequenceModel
from recgym.users.store import SCHEMA_VERSION as MODEL_VERSION
from recgym.worlds.base import TrueShop

SCHEMA_VERSION = 1
OURS, SB3, ORACLE = "ours", "sb3", "oracle"  # kinds; the oracle is not trained
DONE, LEFT_OUT, FAILED = "done", "left out", "failed"
ACTIONS = {OURS: "slate", SB3: "slate, each slot apart", ORACLE: "slate"}


@dataclass(frozen=True)
class CellSettings:
    """What decides a cell."""

    shop: str
    agent: str  # its row
    kind: str
    settings: Mapping[str, Any]  # of the agent
    seed: int  # of the agent and of the shoppers that it is trained on
    value_seeds: tuple[int, ...]  # of the shoppers that it is valued on
    ceiling: bool  # whether it is a candidate for the observable oracle, and no row
    log: Mapping[str, Any]
    user_model: Mapping[str, Any]  # with `num_slots` of the log's pages
    num_slots: int  # of the agent's pages
    steps: int
    num_envs: int
    sessions: int  # of each of `value_seeds`

    def key(self) -> str:
        """A name for the cell's files; another law of shops or of models makes another cell."""
        versions = {"version": SCHEMA_VERSION, "law": LAW_VERSION, "model": MODEL_VERSION}
        name = self.agent.replace(",", "").replace(" ", "-")
        ceiling = "-ceiling" if self.ceiling else ""
        return f"{self.shop}-{name}{ceiling}-{self.seed}-{key_of({**versions, **vars(self)})}"

    def action(self) -> str:
        """What the agent chooses, in words."""
        form = "one item" if self.num_slots == 1 else ACTIONS[self.kind]
        return (
            f"{form}, from the log"
            if self.kind == OURS and learns_from_log(self.settings)
            else form
        )


@dataclass(frozen=True)
class Shop:
    """A true shop, and the fit to its log through which a site sees its shoppers."""

    world: TrueShop
    model: SequenceModel
    log: Log


def shop_of(cell: CellSettings, cache: Path, device: torch.device) -> Shop:
    """The cell's shop; log and fit are made once for all of its agents."""
    settings = json.dumps({"log": cell.log, "user_model": cell.user_model}, sort_keys=True)
    return _opened(settings, cache, device)


@lru_cache(maxsize=1)  # cells come shop by shop
def _opened(text: str, cache: Path, device: torch.device) -> Shop:
    settings, seconds = json.loads(text), dict[str, float]()
    log, reader, _ = prepare_log(settings["log"], cache, seconds)
    model = prepare_model(log, reader, settings["user_model"], cache, device, seconds)[0]
    world, _ = true_side(reader, device)
    assert world is not None
    return Shop(world, model, log)


def file_of(cell: CellSettings, folder: Path) -> Path:
    """Where the cell's result lies."""
    return folder / f"{cell.key()}.json"


def attempt(
    cell: CellSettings, folder: Path, cache: Path, device: torch.device
) -> tuple[str, dict[str, Any]]:
    """`DONE` and the result, from its file where it was run before; else what is in the way.

    An agent that says in a sentence why it cannot be made here is left out; whatever else goes
    wrong is a failure of this cell, whose traceback is kept, and the others go on.
    """
    target = file_of(cell, folder)
    if target.exists():
        return DONE, json.loads(target.read_text())
    try:
        result = _run(cell, folder, cache, device)
    except UserError as error:
        return LEFT_OUT, {"reason": str(error)}
    except Exception as error:
        trace = folder / "failed" / f"{cell.key()}.txt"
        trace.parent.mkdir(parents=True, exist_ok=True)
        trace.write_text(traceback.format_exc())
        return FAILED, {"reason": f"{type(error).__name__}: {error}", "trace": str(trace)}
    write_json(target, result)
    return DONE, result


def _run(cell: CellSettings, folder: Path, cache: Path, device: torch.device) -> dict[str, Any]:
    shop = shop_of(cell, cache, device)
    torch.manual_seed(cell.seed)  # an agent that draws from torch's own generator, too
    total = cell.steps + cell.sessions * len(cell.value_seeds)
    with progress.stage(f"{cell.shop} {cell.agent} {cell.seed}", total):
        begun, busy = time.perf_counter(), time.process_time()
        play, steps = _trained(cell, shop, folder / "runs" / cell.key())
        seconds, cpu_seconds = time.perf_counter() - begun, time.process_time() - busy
        values = {}
        for seed in cell.value_seeds:
            found = values_of({cell.agent: play}, cell.sessions, seed)
            mean, error = found.mean()[cell.agent], found.error()[cell.agent]
            if mean != mean:
                raise ArithmeticError(f"the value on shoppers {seed} is no number")
            values[str(seed)] = {"mean": mean, "error": error}
    return {
        "schema_version": SCHEMA_VERSION,
        "shop": cell.shop,
        "agent": cell.agent,
        "seed": cell.seed,
        "ceiling": cell.ceiling,
        "action": cell.action(),
        "values": values,  # revenue a session, by seed of the shoppers
        "steps": steps,  # of the environment, all lanes together
        "seconds": seconds,  # of making and training the agent, by the clock
        "cpu_seconds": cpu_seconds,  # and of this process: what a busy machine adds is not in it
    }


def _trained(cell: CellSettings, shop: Shop, runs: Path) -> tuple[Play, int]:
    """What the agent sees where it is valued, itself, and the steps that it was trained for."""
    offered = resources(shop.model, shop.log.sessions(), cell.num_slots, cell.seed)
    spec = shop_specs(shop.model, shop.world, cell.num_slots)["true"]
    if cell.kind == ORACLE:
        return oracle_of(shop.world, offered), 0
    if cell.kind == SB3:
        policy, steps = sb3.learn(
            cell.settings,
            shop.world,
            shop.model,
            num_slots=cell.num_slots,
            num_envs=cell.num_envs,
            steps=cell.steps,
            seed=cell.seed,
        )
        return (spec, policy), steps
    agent = make_agent(cell.settings, offered)
    steps = train_in(
        spec,
        agent,
        steps=cell.steps,
        num_envs=cell.num_envs,
        seed=cell.seed,
        folder=runs,
        log=shop.log,
    )
    return (spec, agent), steps
