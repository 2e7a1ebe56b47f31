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

from experiments.comparing import follow_ups, intent, next_views
from experiments.comparing.cell import KNOWING, SEEING, Asked, measured
from experiments.comparing.jobs import HOW, cells_of
from experiments.comparing.tables import Column, Order, Rows, table_of
from experiments.predicting.base import make_predictors
from experiments.speed.setting import Setting, commit, device_name
from recgym import progress
from recgym.cli import check_numbers, command, use_threads
from recgym.errors import UserError
from recgym.files import write_json
from recgym.settings import check

SCHEMA_VERSION = 3
NUMBERS = {"num_sessions": 2, "seed": 0, "draws": 1, "lanes": 1, "repeats": 1}  # least values
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
    repeats, lanes, least = int(cfg.repeats), int(cfg.lanes), float(cfg.least_seconds)
    timing = Setting(repeats=repeats, lanes=lanes, least_seconds=least)
    asked = Asked(int(cfg.num_sessions), int(cfg.seed), int(cfg.draws), timing)
    planned, cells = cells_of(folder), []
    for cell in planned:
        if len(planned) > 1:
            progress.say(f"{cell.log}, user_model.seed={cell.seed}")
        cells.append(measured(cell, asked, make_predictors(list(cfg.predictors), settings)))
    beside = {key: int(cfg[key]) for key in ("num_sessions", "seed", "draws", "lanes")}
    machine = {"device": device_name(torch.device("cpu")), "commit": commit(), **beside}
    content = {"schema_version": SCHEMA_VERSION, "measured": machine, "cells": cells}
    write_json(folder / "user_models.json", content)
    tables = [next_views.table([cell["next_view"] for cell in cells])]
    if all(cell["models"] for cell in cells):
        tables.insert(0, table([cell["models"] for cell in cells]))
    tables += follow_ups.tables([cell["follow_ups"] for cell in cells])
    tables.append(intent.table([cell["intent"] for cell in cells]))
    text = "\n\n".join(tables)
    (folder / "user_models.md").write_text(text + "\n")
    progress.say(f"{text}\n")
    progress.say(f"files        {folder / 'user_models.json'}, user_models.md")


if __name__ == "__main__":
    main()
