"""``python -m experiments.user_models sweep=DIR``: which user model is the right one for a log.

Reads the jobs of ``python -m agents.train -m agent=greedy user_model=lstm,gru,...`` on the log of
one true shop, and puts side by side how well each model foresees fresh shoppers of that shop, what
it costs, and what counts in the end: whether policies rank in its learned shop as in the true one.
The true shop foresees the same shoppers twice: as one that knows what each of them is, and as one
that sees no more than a site does, which is the floor that no model can pass.

A second table ranks the next view in the held-out sessions of the log, and holds predictors of the
next view alone beside the models. It needs no true shop: of any log, the jobs of
``python -m recgym.fit -m user_model=lstm,gru,... log=NAME log.path=PATH`` will do. Two more tell
which views of these sessions go into the cart and are bought, a last one how well a purchase is
foreseen from the first five events.

A sweep may hold several seeds, each on the same log or on one of its own
(``'seed=range(5)' 'log.seed=${seed}' 'user_model.seed=${seed}'``): then each figure is the mean
over them, with its 95 % interval, and models are held against the best one within each. It may
also hold jobs of one model with other settings (``user_model.model.fusion=concatenation,gating``):
these are rows of their own.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from omegaconf import DictConfig, OmegaConf

from agents.valuing import true_side
from experiments.comparing import intent, next_views
from experiments.comparing.costs import costs
from experiments.comparing.floor import foreseen
from experiments.comparing.follow_ups import follow_ups
from experiments.comparing.follow_ups import tables as follow_up_tables
from experiments.comparing.jobs import HOW, Cell, cells_of, fitted, opened
from experiments.comparing.next_views import TESTED, foresee, held_out
from experiments.comparing.scores import scored
from experiments.comparing.tables import Column, Order, Rows, table_of
from experiments.predicting.base import make_predictors
from experiments.speed.setting import Setting, commit, device_name
from recgym import progress
from recgym.cli import check_numbers, command, use_threads
from recgym.errors import UserError
from recgym.files import write_json
from recgym.logs.log import open_log
from recgym.settings import check
from recgym.stages.log import open_reader
from recgym.types import Split
from recgym.users.sequence import SequenceModel
from recgym.users.store import load_model
from recgym.worlds.taste import TasteShop

SCHEMA_VERSION = 3
NUMBERS = {"num_sessions": 2, "seed": 0, "draws": 1, "lanes": 1, "repeats": 1}  # least values
RANKED = ("kendall_tau", "regret", "exploitation_gap")
KNOWING, SEEING = "true shop, knowing each shopper", "true shop, seeing what a site sees"
PARTS = ("fresh", "costs", "ranking")  # of a model's row, as its table has them
COLUMNS = {
    "nll": Column("NLL a step"),
    "nll_next_view": Column("NLL a next view"),
    "recall_at_20": Column("Recall@20", "{:.3f}"),
    "memory_parameters": Column("memory's parameters", "{:,.0f}"),
    "epoch_seconds": Column("s an epoch", "{:.1f}"),
    "steps_a_second": Column("steps/s", "{:,.0f}"),
    "kendall_tau": Column("Kendall tau", "{:.2f}"),
    "regret": Column("regret", "{:.2f}"),
    "exploitation_gap": Column("exploitation gap", "{:+.0%}"),
}


def compare(jobs: dict[str, Path], cfg: DictConfig) -> dict[str, dict[str, Any]]:
    """A row for each model, and one for each way in which the true shop foresees; or none."""
    first = next(iter(jobs.values()))
    settings, _ = opened(first)
    world, policy = true_side(open_reader(settings["log"]), torch.device("cpu"))
    if world is None or policy is None:
        return {}
    num_slots, rows = int(settings["num_slots"]), {}
    fresh: Any = {key: int(cfg[key]) for key in ("num_sessions", "seed")} | {"num_slots": num_slots}
    models = {name: load_model(folder / "model") for name, folder in jobs.items()}
    spent = _costs(models, first, settings, cfg)
    for name, folder in jobs.items():
        _, summary = opened(folder)
        with progress.stage(name, 1.0, {}):
            found, knowing = scored(models[name], world, policy, **fresh)
        rows[name] = {
            "fresh": found,
            "costs": spent[name],
            "ranking": {key: summary.get(key) for key in RANKED},
        }
    rows[KNOWING] = {"fresh": knowing}
    if isinstance(world, TasteShop):
        with progress.stage("true shop", fresh["num_sessions"], {}):
            floor = foreseen(
                world, policy, draws=int(cfg.draws), progress=progress.advance, **fresh
            )  # fmt: skip
        rows[SEEING] = {"fresh": floor}
    return rows


def _costs(
    models: dict[str, SequenceModel], folder: Path, settings: Any, cfg: DictConfig
) -> dict[str, dict[str, float]]:
    _, summary = opened(folder)
    setting = Setting(
        repeats=int(cfg.repeats), lanes=int(cfg.lanes), least_seconds=float(cfg.least_seconds)
    )
    return costs(
        models,
        open_log(Path(summary["log"]["folder"])).sessions(),
        setting,
        batch_steps=int(settings["user_model"]["fit"]["batch_steps"]),
        num_slots=int(settings["num_slots"]),
    )


def table(cells: Sequence[Rows]) -> str:
    """One row a model, the best likelihood first; the true shop last."""
    flat = [
        {
            name: {key: value for part in PARTS for key, value in row.get(part, {}).items()}
            for name, row in rows.items()
        }
        for rows in cells
    ]
    return table_of("user model", COLUMNS, flat, Order("nll", rising=True, last=(SEEING, KNOWING)))


def measured(cell: Cell, cfg: DictConfig) -> dict[str, Any]:
    """All that is said of the models of one cell."""
    _, summary = opened(next(iter(cell.jobs.values())))
    log = open_log(Path(summary["log"]["folder"]))
    sessions, models = log.sessions(), fitted(cell.jobs)
    settings: Any = OmegaConf.to_container(cfg.predicting)
    predictors = make_predictors(list(cfg.predictors), settings)
    rows = compare(cell.jobs, cfg)
    valid = held_out(models, sessions, Split.VALID)
    test = held_out(models, sessions, *TESTED)
    return {
        "log": cell.log,
        "seed": cell.seed,
        "models": rows,
        "next_view": foresee(test, predictors, sessions, log.catalog().num_items),
        "follow_ups": follow_ups(valid, test, sessions),
        "intent": intent.intent(models, log, int(cfg.seed)),
    }


@command("user_models")
def main(cfg: DictConfig) -> None:
    """Table and JSON of a sweep, left in its folder."""
    use_threads(cfg.num_threads)
    if cfg.sweep is None:
        raise UserError(f"sweep is missing: set sweep=DIR, {HOW}.")
    check_numbers(cfg, NUMBERS)
    check("", {"least_seconds": cfg.least_seconds}, Setting)
    folder = Path(str(cfg.sweep))
    settings: Any = OmegaConf.to_container(cfg.predicting)
    make_predictors(list(cfg.predictors), settings)  # what cannot be made is said before any work
    planned, cells = cells_of(folder), []
    for cell in planned:
        if len(planned) > 1:
            progress.say(f"{cell.log}, user_model.seed={cell.seed}")
        cells.append(measured(cell, cfg))
    beside = {key: int(cfg[key]) for key in ("num_sessions", "seed", "draws", "lanes")}
    machine = {"device": device_name(torch.device("cpu")), "commit": commit(), **beside}
    content = {"schema_version": SCHEMA_VERSION, "measured": machine, "cells": cells}
    write_json(folder / "user_models.json", content)
    tables = [next_views.table([cell["next_view"] for cell in cells])]
    if all(cell["models"] for cell in cells):
        tables.insert(0, table([cell["models"] for cell in cells]))
    tables += follow_up_tables([cell["follow_ups"] for cell in cells])
    tables.append(intent.table([cell["intent"] for cell in cells]))
    text = "\n\n".join(tables)
    (folder / "user_models.md").write_text(text + "\n")
    progress.say(f"{text}\n")
    progress.say(f"files        {folder / 'user_models.json'}, user_models.md")


if __name__ == "__main__":
    main()
