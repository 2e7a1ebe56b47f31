"""One job of a sweep: it is skipped where it is over, goes on where it was killed, and may fail.

A run's folder says what became of it: ``summary.json``, it is over; ``failed.json``, it failed, and
why; neither, it was killed or still runs.
"""

from __future__ import annotations

import json
import os
import traceback
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from hydra.core.hydra_config import HydraConfig
from hydra.types import RunMode
from omegaconf import DictConfig, OmegaConf
from yaml import YAMLError

from agents.loop import PROGRESS
from recgym import progress
from recgym.cli import sentence
from recgym.errors import UserError
from recgym.files import write_json
from recgym.locks import held
from recgym.runs import CONFIG, SUMMARY

SCHEMA_VERSION = 1
FAILED, TRACEBACK, OUTPUT, LOCK = "failed.json", "traceback.txt", "output.txt", ".lock"
ASKED = "sweep.json"  # in a sweep's folder: what was asked for, whichever sweeper
# settings that say where and how a run is made, and nothing of what comes out
FREE = ("sweep", "resume", "cache_dir", "num_threads", "checkpoint_steps", "objective")

Values = float | list[float | None] | None
Whole = Callable[..., dict[str, Any]]  # (cfg, folder, resume=) -> the run's summary


def in_sweep() -> bool:
    """Whether this process runs a job of a sweep."""
    return bool(HydraConfig.get().mode == RunMode.MULTIRUN)


def run(cfg: DictConfig, whole: Whole, values: Callable[[dict[str, Any]], Values]) -> Values:
    """The job: what it returns to the sweeper is the same whether it ran now or earlier.

    Args:
        cfg: its settings.
        whole: does all the work in the folder that it is given, and returns the summary.
        values: of a summary, for the sweeper.
    """
    hydra = HydraConfig.get()
    folder = Path(hydra.runtime.output_dir)
    title = f"job {hydra.job.num} {varied(hydra.overrides.task, folder.parent)}".rstrip()
    with held(folder / LOCK, title):  # a sweep that was killed may have left its jobs at work
        done = finished(cfg, folder)
        if done is None:
            resume = prepare(cfg, folder)
            try:
                with progress.into(folder / OUTPUT):
                    done = whole(cfg, folder, resume=resume)
            except Exception as error:  # whatever it is, the other jobs go on
                fail(folder, error, hydra.overrides.task)
                progress.say(f"{title} failed: {sentence(error)}")
                return None
            progress.say(f"{title}: {told(done, values(done))}")
        else:
            progress.say(f"{title}: was over")
    return values(done)


def told(summary: Mapping[str, Any], found: Values) -> str:
    """What a job came to, in half a line."""
    spent = sum(summary["seconds"].values())
    each = found if isinstance(found, list) else [found]
    return f"{' '.join('-' if v is None else f'{v:.4g}' for v in each)} in {spent:.0f} s"


def swept(overrides: Sequence[str]) -> list[str]:
    """Overrides that say what a run is; places and numbers of threads do not."""
    return [o for o in overrides if o.lstrip("+~").partition("=")[0] not in (*FREE, "device")]


def varied(overrides: Sequence[str], sweep: Path) -> str:
    """The overrides of a job that are not those of all jobs of its sweep."""
    try:
        shared = json.loads((sweep / ASKED).read_text())["overrides"]
    except OSError:  # a sweep without its callback
        shared = []
    return " ".join(each for each in swept(overrides) if each not in shared)


def finished(cfg: DictConfig, folder: Path) -> dict[str, Any] | None:
    """The summary of a run with these settings that is over; None where there is none.

    Raises:
        UserError: if the run that is over has other settings.
    """
    if not (folder / SUMMARY).exists():
        return None
    key = changed(cfg, folder)
    if key is not None:
        raise UserError(
            f"{folder} holds a finished run with another {key}: a sweep goes on with its own "
            "settings; give the same command as before, or set sweep=DIR to begin another."
        )
    summary: dict[str, Any] = json.loads((folder / SUMMARY).read_text())
    return summary


def prepare(cfg: DictConfig, folder: Path) -> bool:
    """Whether the folder holds the state of a killed run to go on from; what else is there goes."""
    (folder / FAILED).unlink(missing_ok=True)
    (folder / TRACEBACK).unlink(missing_ok=True)
    resume = (folder / PROGRESS).exists() and changed(cfg, folder) is None
    if not resume:
        for curves in folder.glob("events.out.tfevents.*"):  # of a run that begins anew
            curves.unlink()
    return resume


def changed(cfg: DictConfig, folder: Path) -> str | None:
    """Name of a setting in which the folder's run differs from ``cfg``; None where none does."""
    try:
        kept = OmegaConf.to_container(OmegaConf.load(folder / CONFIG))
    except (OSError, YAMLError):  # killed before or while it was written
        return CONFIG
    # through YAML, as the other was
    asked = OmegaConf.to_container(OmegaConf.create(OmegaConf.to_yaml(cfg, resolve=True)))
    assert isinstance(kept, dict) and isinstance(asked, dict)
    names = sorted({*map(str, kept), *map(str, asked)} - set(FREE))
    return next((name for name in names if kept.get(name) != asked.get(name)), None)


def fail(folder: Path, error: Exception, overrides: Sequence[str]) -> None:
    """Leave behind why the job failed; of a bug its traceback too."""
    if not isinstance(error, UserError):
        (folder / TRACEBACK).write_text("".join(traceback.format_exception(error)))
    content = {
        "schema_version": SCHEMA_VERSION,
        "error": sentence(error),
        "kind": type(error).__name__,
        "overrides": list(overrides),
    }
    write_json(folder / FAILED, content)


def threads(launcher: Mapping[str, Any], num_cores: int) -> int | None:
    """Of torch, for one of the jobs that a launcher runs side by side; None leaves torch's own.

    Args:
        launcher: its settings, ``n_jobs`` of joblib's and ``cpus_per_task`` of submitit's.
        num_cores: of this machine.
    """
    if "n_jobs" in launcher:
        return max(1, num_cores // _at_once(launcher, num_cores))
    cpus = launcher.get("cpus_per_task")
    return None if cpus is None else int(cpus)


def _at_once(launcher: Mapping[str, Any], num_cores: int) -> int:
    jobs = int(launcher["n_jobs"])
    # joblib's: -1 is all cores, -2 all but one
    return jobs if jobs > 0 else max(1, num_cores + 1 + jobs)


def crowding(launcher: Mapping[str, Any], device: str, num_cores: int, num_gpus: int) -> str | None:
    """What to say before a sweep whose jobs were counted by cores and share a GPU; None if not.

    Args:
        launcher: its settings; one who set ``n_jobs`` to a number has chosen.
        device: as in the settings of a run; all jobs take the same one.
        num_cores: of this machine.
        num_gpus: of this machine.
    """
    shared = num_gpus > 0 and (device == "auto" or device.startswith("cuda"))
    if not shared or int(launcher.get("n_jobs", 1)) > 0:
        return None
    jobs = _at_once(launcher, num_cores)
    return (
        f"up to {jobs} jobs at once, one a core, will share one GPU and its memory: set "
        "hydra.launcher.n_jobs=2 for fewer at once, or device=cpu."
    )


def threads_here() -> int | None:
    """`threads` for the job that this process runs."""
    if not in_sweep():
        return None
    return threads(HydraConfig.get().launcher, len(os.sched_getaffinity(0)))


def check_objective(asked: Any, known: Sequence[str]) -> None:
    """Stop before any work where a job could not return what is asked for.

    Raises:
        UserError: naming what it could.
    """
    names = [asked] if asked is None or isinstance(asked, str) else list(asked)
    for name in names:
        if name is not None and name not in known:
            raise UserError(f"objective={name} is unknown: expected one of {', '.join(known)}.")
    if not names:
        raise UserError("objective=[]: expected a metric, or a list of them.")


def values_of(summary: Mapping[str, Any], asked: Any, default: str) -> Values:
    """What a job returns: metrics of its agent in the learned shop; undefined is None.

    The true shop's are kept out of a sweeper's sight: who tunes does not know them.
    """
    row = summary["policies"][summary["agent"]]["learned"]

    def mean(name: str) -> float | None:
        value = row[name]["mean"]
        return None if value is None else float(value)

    if asked is None or isinstance(asked, str):
        return mean(asked or default)
    return [mean(name) for name in asked]
