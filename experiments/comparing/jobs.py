"""The jobs of a sweep over user models: all models on the same logs, with one seed or several."""

from __future__ import annotations

from pathlib import Path
from typing import Any, NamedTuple

from experiments.reporting.runs import short_names
from recgym.errors import UserError
from recgym.runs import FIT as FIT_SUMMARY
from recgym.runs import SUMMARY, read_run
from recgym.users.sequence import SequenceModel
from recgym.users.store import FIT, load_model

PARTS = ("model", "fit")  # of a user model's settings, in which jobs of it may differ
HOW = "the folder of python -m agents.train -m agent=greedy user_model=lstm,gru,rnn"


class Cell(NamedTuple):
    """All models on one log and with one seed, so that what they differ by is themselves."""

    log: str  # name of the log's folder, which holds the hash of what decides it
    seed: int  # of the fits
    jobs: dict[str, Path]  # folders, by user model: see `_rows`


class _Job(NamedTuple):
    folder: Path
    log: str
    seed: int
    model: str
    settings: dict[str, Any]  # of the model and its fit, flat


def cells_of(sweep: Path) -> list[Cell]:
    """The finished jobs, by seed of the fit and log.

    Raises:
        UserError: if there are none, two are alike, or a cell lacks a model that others have.
    """
    files = [file for name in (SUMMARY, FIT_SUMMARY) for file in sorted(sweep.glob(f"*/{name}"))]
    found = [_job(file.parent) for file in files]
    if not found:
        raise UserError(f"sweep={sweep} holds no finished job: expected {HOW}.")
    of_cell: dict[tuple[int, str], dict[str, Path]] = {}
    rows = _rows(found)
    for job, row in zip(found, rows, strict=True):
        jobs = of_cell.setdefault((job.seed, job.log), {})
        if row in jobs:
            raise UserError(
                f"sweep={sweep} holds two jobs with user_model={job.model} on one log with "
                f"user_model.seed={job.seed}, and the same settings: expected one of each."
            )
        jobs[row] = job.folder
    cells = [Cell(log, seed, jobs) for (seed, log), jobs in sorted(of_cell.items())]
    for cell in cells:
        for row in dict.fromkeys(rows):
            if row not in cell.jobs:
                raise UserError(
                    f"sweep={sweep} holds no finished job with user_model={row} on {cell.log} "
                    f"with user_model.seed={cell.seed}, where other models have one: give the "
                    f"command of the sweep again, or {HOW}."
                )
    return cells


def _job(folder: Path) -> _Job:
    settings, summary = opened(folder)
    if "env" in summary:
        raise UserError(f"{folder} placed ads: expected {HOW}.")
    chosen, log = settings["user_model"], Path(summary["log"]["folder"]).name
    flat = {f"{part}.{key}": value for part in PARTS for key, value in chosen[part].items()}
    return _Job(folder, log, int(chosen["seed"]), summary["user_model"]["name"], flat)


def _rows(jobs: list[_Job]) -> list[str]:
    """What each job is called: its model and, where jobs of it differ in settings, those."""
    differing: dict[str, dict[str, str]] = {}
    for model in dict.fromkeys(job.model for job in jobs):
        own = [job.settings for job in jobs if job.model == model]
        keys = dict.fromkeys(key for settings in own for key in settings)
        differing[model] = short_names(
            tuple(key for key in keys if len({str(settings.get(key)) for settings in own}) > 1)
        )
    return [
        ", ".join(
            [job.model, *(f"{n}={job.settings.get(k)}" for k, n in differing[job.model].items())]
        )
        for job in jobs
    ]


def opened(folder: Path) -> tuple[dict[str, Any], dict[str, Any]]:
    """Settings of a job, and what it says of its log, its model and, if it has any, of policies."""
    settings, summary = read_run(folder, fits=True)
    named = {"name": str(settings["user_model"]["name"])}
    return settings, {**summary, "user_model": {**named, **summary["user_model"]}}


def fitted(jobs: dict[str, Path]) -> dict[str, SequenceModel]:
    """The models as fitted on the log, without what was assumed of pages that it does not show."""
    folders = {name: folder / "model" for name, folder in jobs.items()}
    return {
        name: load_model(folder / FIT if (folder / FIT).is_dir() else folder)
        for name, folder in folders.items()
    }
