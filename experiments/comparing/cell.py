"""All that is said of the models of one cell: by fresh shoppers, by the log, by what they cost."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from agents.valuing import true_side
from experiments.comparing.costs import costs
from experiments.comparing.floor import foreseen
from experiments.comparing.follow_ups import follow_ups
from experiments.comparing.intent import intent
from experiments.comparing.jobs import Cell, fitted, opened
from experiments.comparing.next_views import TESTED, foresee, held_out
from experiments.comparing.scores import scored
from experiments.predicting.base import Predictor
from experiments.speed.setting import Setting
from recgym import progress
from recgym.logs.log import Log, open_log
from recgym.stages.log import open_reader
from recgym.types import Split
from recgym.users.store import load_model
from recgym.worlds.taste import TasteShop

RANKED = ("kendall_tau", "regret", "exploitation_gap")  # of a job's summary
KNOWING, SEEING = "true shop, knowing each shopper", "true shop, seeing what a site sees"


@dataclass(frozen=True)
class Asked:
    """How models are compared.

    Attributes:
        num_sessions: fresh ones of the true shop, which all models and the shop itself foresee.
        seed: of these shoppers, and of what else is drawn.
        draws: of what a shopper may be, for the true shop that sees what a site sees.
        timing: how long and how often a figure of cost is measured.
    """

    num_sessions: int
    seed: int
    draws: int
    timing: Setting


def measured(cell: Cell, asked: Asked, predictors: Mapping[str, Predictor]) -> dict[str, Any]:
    """Figures of all models, and of the predictors, which are fitted here."""
    _, summary = opened(next(iter(cell.jobs.values())))
    log = open_log(Path(summary["log"]["folder"]))
    sessions, models = log.sessions(), fitted(cell.jobs)
    valid, test = held_out(models, sessions, Split.VALID), held_out(models, sessions, *TESTED)
    return {
        "log": cell.log,
        "seed": cell.seed,
        "models": _beside_the_truth(cell.jobs, log, asked),
        "next_view": foresee(test, predictors, sessions, log.catalog().num_items),
        "follow_ups": follow_ups(valid, test, sessions),
        "intent": intent(models, log, asked.seed),
    }


def _beside_the_truth(jobs: dict[str, Path], log: Log, asked: Asked) -> dict[str, dict[str, Any]]:
    """A row for each model, and one for each way in which the true shop foresees; or none."""
    settings, _ = opened(next(iter(jobs.values())))
    world, policy = true_side(open_reader(settings["log"]), torch.device("cpu"))
    if world is None or policy is None:
        return {}
    models = {name: load_model(folder / "model") for name, folder in jobs.items()}
    num_slots, rows = int(settings["num_slots"]), dict[str, dict[str, Any]]()
    batch_steps = int(settings["user_model"]["fit"]["batch_steps"])
    spent = costs(
        models, log.sessions(), asked.timing, batch_steps=batch_steps, num_slots=num_slots
    )
    fresh: Any = {
        "num_slots": num_slots, "num_sessions": asked.num_sessions, "seed": asked.seed
    }  # fmt: skip
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
        with progress.stage("true shop", asked.num_sessions, {}):
            floor = foreseen(
                world, policy, draws=asked.draws, progress=progress.advance, **fresh
            )  # fmt: skip
        rows[SEEING] = {"fresh": floor}
    return rows
