"""The jobs of a sweep over user models: all models on the same logs, with one seed or several."""

from __future__ import annotations

from pathlib import Path
from typing import Any, NamedTuple

from recgym.errors import UserError
from recgym.runs import FIT as FIT_SUMMARY
from recgym.runs import SUMMARY, read_run
from recgym.users.sequence import SequenceModel
from recgym.users.store import FIT, load_model

HOW = "the folder of python -m agents.train -m agent=greedy user_model=lstm,gru,rnn"


class Cell(NamedTuple):
    """All models on one log and with one seed, so that what they differ by is themselves."""

    log: str  # name of the log's folder, which holds the hash of what decides it
    seed: int  # of the fits
    jobs: dict[str, Path]  # folders, by user model


def cells_of(sweep: Path) -> list[Cell]:
    """The finished jobs, by seed of the fit and log.

    Raises:
        UserError: if there are none, two are of one model in one cell, or a cell lacks a model.
    """
    found: dict[tuple[int, str], dict[str, Path]] = {}
    files = [file for name in (SUMMARY, FIT_SUMMARY) for file in sorted(sweep.glob(f"*/{name}"))]
    for folder in [file.parent for file in files]:
        settings, summary = opened(folder)
        name = summary["user_model"]["name"]
        if "env" in summary:
            raise UserError(f"{folder} placed ads: expected {HOW}.")
        seed, log = int(settings["user_model"]["seed"]), Path(summary["log"]["folder"]).name
        jobs = found.setdefault((seed, log), {})
        if name in jobs:
            raise UserError(
                f"sweep={sweep} holds two jobs with user_model={name} on one log with "
                f"user_model.seed={seed}: expected one of each model, log and seed."
            )
        jobs[name] = folder
    if not found:
        raise UserError(f"sweep={sweep} holds no finished job: expected {HOW}.")
    cells = [Cell(log, seed, jobs) for (seed, log), jobs in sorted(found.items())]
    every = list(dict.fromkeys(name for cell in cells for name in cell.jobs))
    for cell in cells:
        for name in every:
            if name not in cell.jobs:
                raise UserError(
                    f"sweep={sweep} holds no finished job with user_model={name} on {cell.log} "
                    f"with user_model.seed={cell.seed}, where other models have one: give the "
                    f"command of the sweep again, or {HOW}."
                )
    return cells


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
