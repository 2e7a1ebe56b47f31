"""``python -m experiments.user_models sweep=DIR``: which user model is the right one for a log.

Reads the jobs of ``python -m agents.train -m agent=greedy user_model=lstm,gru,...`` on the log of
one true shop, and puts side by side how well each model foresees fresh shoppers of that shop, what
it costs, and what counts in the end: whether policies rank in its learned shop as in the true one.
The true shop foresees the same shoppers twice: as one that knows what each of them is, and as one
that sees no more than a site does, which is the floor that no model can pass.

A second table ranks the next view in the held-out sessions of the log, and holds predictors of the
next view alone beside the models. It needs no true shop: of any log, the jobs of
``python -m recgym.fit -m user_model=lstm,gru,... log=NAME log.path=PATH`` will do. A third tells of
the same sessions how well a purchase is foreseen from the first five events.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from omegaconf import DictConfig, OmegaConf

from agents.valuing import true_side
from experiments.comparing import intent, next_views
from experiments.comparing.costs import costs
from experiments.comparing.floor import foreseen
from experiments.comparing.scores import scored
from experiments.predicting.base import make_predictors
from experiments.speed.setting import Setting, commit, device_name
from recgym import progress
from recgym.cli import check_numbers, command, use_threads
from recgym.errors import UserError
from recgym.files import write_json
from recgym.logs.log import open_log
from recgym.runs import FIT as FIT_SUMMARY
from recgym.runs import SUMMARY, read_run
from recgym.settings import check
from recgym.stages.log import open_reader
from recgym.users.sequence import SequenceModel
from recgym.users.store import FIT, load_model
from recgym.worlds.taste import TasteShop

SCHEMA_VERSION = 2
HOW = "the folder of python -m agents.train -m agent=greedy user_model=lstm,gru,rnn"
REPORTED = ("nll", "nll_next_view", "recall_at_20", "mrr_at_20", "cart_auc", "purchase_auc")
NUMBERS = {"num_sessions": 2, "seed": 0, "draws": 1, "lanes": 1, "repeats": 1}  # least values
RANKED = ("kendall_tau", "regret", "exploitation_gap")
TITLES = {
    "nll": "NLL a step",
    "nll_next_view": "NLL a next view",
    "recall_at_20": "Recall@20",
    "memory_parameters": "memory's parameters",
    "epoch_seconds": "s an epoch",
    "steps_a_second": "steps/s",
    "kendall_tau": "Kendall tau",
    "regret": "regret",
    "exploitation_gap": "exploitation gap",
}
FORMS = {"recall_at_20": "{:.3f}", "memory_parameters": "{:,.0f}", "epoch_seconds": "{:.1f}",
         "steps_a_second": "{:,.0f}", "kendall_tau": "{:.2f}", "regret": "{:.2f}",
         "exploitation_gap": "{:+.0%}"}  # fmt: skip


def jobs_of(sweep: Path) -> dict[str, Path]:
    """Folder of the finished job of each user model.

    Raises:
        UserError: if there is none, or two are of one model or of different logs.
    """
    found: dict[str, Path] = {}
    logs: set[str] = set()
    files = [file for name in (SUMMARY, FIT_SUMMARY) for file in sorted(sweep.glob(f"*/{name}"))]
    for folder in [file.parent for file in files]:
        _, summary = opened(folder)
        name = summary["user_model"]["name"]
        if "env" in summary:
            raise UserError(f"{folder} placed ads: expected {HOW}.")
        if name in found:
            raise UserError(
                f"sweep={sweep} holds two jobs with user_model={name}: expected one of each model."
            )
        found[name] = folder
        logs.add(Path(summary["log"]["folder"]).name)
    if not found:
        raise UserError(f"sweep={sweep} holds no finished job: expected {HOW}.")
    if len(logs) > 1:
        raise UserError(f"sweep={sweep} holds jobs of {len(logs)} logs: expected {HOW} on one log.")
    return found


def opened(folder: Path) -> tuple[dict[str, Any], dict[str, Any]]:
    """Settings of a job, and what it says of its log, its model and, if it has any, of policies."""
    settings, summary = read_run(folder, fits=True)
    named = {"name": str(settings["user_model"]["name"])}
    return settings, {**summary, "user_model": {**named, **summary["user_model"]}}


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
            "test": {key: summary["user_model"][key] for key in REPORTED},
            "ranking": {key: summary.get(key) for key in RANKED},
        }
    rows["true shop, knowing each shopper"] = {"fresh": knowing}
    if isinstance(world, TasteShop):
        with progress.stage("true shop", fresh["num_sessions"], {}):
            floor = foreseen(
                world, policy, draws=int(cfg.draws), progress=progress.advance, **fresh
            )  # fmt: skip
        rows["true shop, seeing what a site sees"] = {"fresh": floor}
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


def fitted(jobs: dict[str, Path]) -> dict[str, SequenceModel]:
    """The models as fitted on the log, without what was assumed of pages that it does not show."""
    folders = {name: folder / "model" for name, folder in jobs.items()}
    return {
        name: load_model(folder / FIT if (folder / FIT).is_dir() else folder)
        for name, folder in folders.items()
    }


def table(rows: dict[str, dict[str, Any]]) -> str:
    """One row a model, the best likelihood first; the true shop last."""
    lines = [f"| user model | {' | '.join(TITLES.values())} |", "|---" * (len(TITLES) + 1) + "|"]
    order = sorted(rows, key=lambda name: ("costs" not in rows[name], rows[name]["fresh"]["nll"]))
    for name in order:
        parts = (rows[name].get(part, {}) for part in ("fresh", "costs", "ranking"))
        known: dict[str, Any] = {key: value for part in parts for key, value in part.items()}
        cells = [
            "-" if known.get(key) is None else FORMS.get(key, "{:.4f}").format(known[key])
            for key in TITLES
        ]
        lines.append(f"| {name} | {' | '.join(cells)} |")
    return "\n".join(lines)


@command("user_models")
def main(cfg: DictConfig) -> None:
    """Table and JSON of a sweep, left in its folder."""
    use_threads(cfg.num_threads)
    if cfg.sweep is None:
        raise UserError(f"sweep is missing: set sweep=DIR, {HOW}.")
    check_numbers(cfg, NUMBERS)
    check("", {"least_seconds": cfg.least_seconds}, Setting)
    folder = Path(str(cfg.sweep))
    known: Any = OmegaConf.to_container(cfg.predicting)
    predictors = make_predictors(list(cfg.predictors), known)
    jobs = jobs_of(folder)
    _, summary = opened(next(iter(jobs.values())))
    log = open_log(Path(summary["log"]["folder"]))
    rows = compare(jobs, cfg)
    models = fitted(jobs)
    ahead = next_views.foresee(models, predictors, log.sessions(), log.catalog().num_items)
    bought = intent.intent(models, log, int(cfg.seed))
    beside = {key: int(cfg[key]) for key in ("num_sessions", "seed", "draws", "lanes")}
    measured = {"device": device_name(torch.device("cpu")), "commit": commit(), **beside}
    content = {"schema_version": SCHEMA_VERSION, "measured": measured, "models": rows}
    content |= {"next_view": ahead, "intent": bought}
    write_json(folder / "user_models.json", content)
    if rows:
        progress.say(table(rows) + "\n")
    progress.say(next_views.table(ahead) + "\n")
    progress.say(intent.table(bought))
    progress.say(f"files        {folder / 'user_models.json'}")


if __name__ == "__main__":
    main()
