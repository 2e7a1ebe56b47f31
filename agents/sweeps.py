"""What happens once a sweep: before its first job, and after its last (a callback of Hydra)."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path
from typing import Any

import torch
from hydra.experimental.callback import Callback
from omegaconf import DictConfig, OmegaConf

from agents.jobs import ASKED, FAILED, crowding, swept
from recgym import progress
from recgym.errors import UserError
from recgym.files import write_json
from recgym.runs import SUMMARY


class Sweep(Callback):
    """Refuses to mix two sweeps in one folder, and says at the end how many jobs failed.

    Hydra turns what a callback raises into a warning, so both end the program themselves.
    """

    def on_multirun_start(self, config: DictConfig, **kwargs: Any) -> None:
        """Stop before the first job where the folder holds a sweep with other settings."""
        try:
            begin(Path(config.hydra.sweep.dir), asked_for(config))
        except UserError as error:
            stop(str(error))
        cores, gpus = len(os.sched_getaffinity(0)), torch.cuda.device_count()
        note = crowding(config.hydra.launcher, str(config.device), cores, gpus)
        if note is not None:
            progress.say(f"sweep        {note}")

    def on_multirun_end(self, config: DictConfig, **kwargs: Any) -> None:
        """Say what became of the jobs; one that failed makes the exit code 1."""
        folder = Path(config.hydra.sweep.dir)
        runs, failed = jobs_of(folder)
        progress.say(f"sweep        {len(runs)} of {len(runs) + len(failed)} jobs are over")
        progress.say(f"files        {folder}")
        progress.say(f"TensorBoard  tensorboard --logdir {folder}")
        if failed:
            stop(failing(folder, failed))


def asked_for(config: DictConfig) -> dict[str, Any]:
    """What numbers the jobs of a sweep: its overrides in their order, and its sweeper's choices."""
    sweeper: Any = OmegaConf.to_container(config.hydra.sweeper, resolve=True)
    overrides: Any = OmegaConf.to_container(config.hydra.overrides.task)
    return {"overrides": swept(overrides), "sweeper": json.loads(json.dumps(sweeper, default=str))}


def begin(folder: Path, asked: dict[str, Any]) -> None:
    """Note what is asked for; what is finished of an earlier sweep with it will be kept.

    Raises:
        UserError: if the folder holds finished runs of a sweep that asked for something else.
    """
    file = folder / ASKED
    if file.exists() and jobs_of(folder)[0]:
        known = json.loads(file.read_text())
        if known != asked:
            was, now = (" ".join(x["overrides"]) or "nothing" for x in (known, asked))
            raise UserError(
                f"{folder} holds a sweep with other settings ({was}; asked for now: {now}): give "
                "the same command to go on with it, or set sweep=DIR to begin another."
            )
    folder.mkdir(parents=True, exist_ok=True)
    write_json(file, asked)


def jobs_of(folder: Path) -> tuple[list[Path], list[Path]]:
    """Runs of a sweep that are over, and those that failed, each in the order of their names."""
    found = sorted(path for path in folder.iterdir() if path.is_dir())
    over = [path for path in found if (path / SUMMARY).exists()]
    return over, [path for path in found if (path / FAILED).exists() and path not in over]


def failing(folder: Path, failed: list[Path]) -> str:
    """How many jobs failed, and why the first did."""
    first = json.loads((failed[0] / FAILED).read_text())
    names = ", ".join(path.name for path in failed)
    return (
        f"{len(failed)} jobs of {folder} failed ({names}), {failed[0].name} of them with: "
        f"{first['error'].rstrip('.')}. The same command tries them again, and leaves the others "
        "as they are."
    )


def stop(text: str) -> None:
    """End the program with one sentence."""
    print(f"error: {text}", file=sys.stderr)
    sys.exit(1)
