"""``python -m experiments.believable``: does a learned shop say what the true one would?

For each true shop and seed: its log, a fit, 24 policies fixed before any fit and a trained agent,
all valued in the learned and in the true shop; beside them two user models that are declared wrong.
"""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

from omegaconf import DictConfig, ListConfig, OmegaConf

from experiments.asking import budget_of, check_lists, entry_of, fit_within
from experiments.believing.cell import Cell, run_cell
from experiments.believing.names import KINDS, RIGHT
from experiments.believing.parts import FURTHER
from experiments.believing.report import plot, table
from experiments.believing.settings import CellSettings
from experiments.believing.verdict import shop_object, summary, truth_of
from experiments.values import NUM_BLOCKS
from recgym import progress
from recgym.build import check_settings
from recgym.cli import check_numbers, command, use_threads
from recgym.errors import UserError
from recgym.files import write_json
from recgym.shops import choose_device
from recgym.stages.model import check_user_model

SCHEMA_VERSION = 2
NUMBERS = {  # least values of a budget; sessions are valued in blocks, none of which may be empty
    "log_sessions": 100,
    "sessions": NUM_BLOCKS,
    "effect_sessions": 1,
    "steps": 1,
    "epochs": 1,
}


def cells_of(cfg: DictConfig) -> list[CellSettings]:
    """All cells of this budget, shop by shop."""
    budget = budget_of(cfg)
    _check(cfg, f"budgets.{cfg.budget}")
    return [_cell(cfg, budget, world, seed) for world in cfg.worlds for seed in budget.seeds]


def parts_of(cfg: DictConfig) -> tuple[str, ...]:
    """What this budget asks of each cell beside its fit and agent."""
    asked = budget_of(cfg).parts
    if not isinstance(asked, ListConfig) or not set(asked) <= set(FURTHER):
        known = ", ".join(FURTHER)
        raise UserError(f"budgets.{cfg.budget}.parts={asked}: expected a list of some of {known}.")
    return tuple(name for name in FURTHER if name in asked)


def _check(cfg: DictConfig, path: str) -> None:
    """Stop before any work where a setting cannot be used."""
    least = {f"{path}.{name}": value for name, value in NUMBERS.items()}
    check_numbers(cfg, {**least, "num_slots": 1, "num_envs": 1, "members": 4, "oracle_times": 1})
    pessimism = cfg.pessimism
    if isinstance(pessimism, bool) or not isinstance(pessimism, int | float) or pessimism < 0:
        raise UserError(f"pessimism={pessimism}: expected a number of at least 0.")
    check_lists(cfg, {"worlds": str, f"{path}.seeds": int})
    parts_of(cfg)
    settings: Any = OmegaConf.to_container(cfg)
    check_settings("agent", settings["agent"])


def _cell(cfg: DictConfig, budget: Any, world: str, seed: int) -> CellSettings:
    settings = OmegaConf.create(OmegaConf.to_container(cfg))
    assert isinstance(settings, DictConfig)
    settings.world = entry_of("world", world, "worlds")
    settings.log.seed, settings.log.num_sessions = seed, budget.log_sessions
    for kind in KINDS:
        model = settings.user_models[kind]
        fit_within(model, seed=seed, epochs=budget.epochs, log_sessions=budget.log_sessions)
        model.ensemble.members = cfg.members if kind == RIGHT else 0
    plain: Any = OmegaConf.to_container(settings, resolve=True)
    for kind in KINDS:
        check_user_model(plain["user_models"][kind], int(cfg.num_slots))
        del plain["user_models"][kind]["ensemble"]
    return CellSettings(
        world=world,
        seed=seed,
        log=plain["log"],
        user_models=plain["user_models"],
        agent=plain["agent"],
        num_slots=int(cfg.num_slots),
        steps=int(budget.steps),
        num_envs=int(cfg.num_envs),
        sessions=int(budget.sessions),
        effect_sessions=int(budget.effect_sessions),
        members=int(cfg.members),
        pessimism=float(cfg.pessimism),
        oracle_times=int(cfg.oracle_times),
    )


@command("believable")
def main(cfg: DictConfig) -> None:
    """Run all cells that are missing, then say what they show."""
    use_threads(cfg.num_threads)
    device, folder, begun = choose_device(cfg.device), Path(cfg.folder), time.perf_counter()
    done: list[Cell] = []
    planned, parts = cells_of(cfg), parts_of(cfg)
    folder.mkdir(parents=True, exist_ok=True)
    for number, cell in enumerate(planned, 1):
        progress.say(f"cell {number} of {len(planned)}: {cell.world}, seed {cell.seed}")
        found = run_cell(cell, parts, folder, Path(cfg.cache_dir), device)
        write_json(folder / cell.key() / "truth.json", truth_of(found))
        done.append(found)
    content = {
        "schema_version": SCHEMA_VERSION,
        "budget": str(cfg.budget),
        "shops": [shop_object(cell) for cell in done],
        "mean": summary(done),
    }
    write_json(folder / "believable.json", content)
    text = table(json.loads((folder / "believable.json").read_text()))
    (folder / "believable.md").write_text(text + "\n")
    plot(done, folder / "believable.png")
    progress.say("\n" + text)
    progress.say(f"files        {folder / 'believable.json'}, believable.md, believable.png")
    progress.say(f"done in {time.perf_counter() - begun:.0f} s")


if __name__ == "__main__":
    main()
