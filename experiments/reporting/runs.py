"""The jobs of a sweep folder: those that are over, that failed, and that never ended."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from omegaconf import OmegaConf
from yaml import YAMLError

from agents.folders import OVERRIDES
from agents.jobs import FAILED
from agents.shoppers import Shoppers, read_shoppers
from recgym.errors import UserError
from recgym.runs import CONFIG, SUMMARY

DEPTH = 3  # folders below the sweep's in which a job may lie
NEEDED = ("agent", "log", "user_model", "policies")  # of a summary
SEED = "seed"  # that tells training runs of one candidate apart


@dataclass(frozen=True)
class Run:
    """A job that is over."""

    name: str  # of its folder, within the sweep's
    folder: Path
    settings: dict[str, Any]
    summary: dict[str, Any]
    overrides: dict[str, str]
    shoppers: Shoppers | None  # None: it is compared without pairs

    @property
    def agent(self) -> str:
        """What was trained."""
        return str(self.summary["agent"])

    @property
    def ads(self) -> bool:
        """Whether its pages hold ads."""
        return "env" in self.summary

    def own(self, policy: str) -> bool:
        """Whether a policy of its table is what was trained, or another seed of it."""
        return policy == self.agent or policy.startswith(f"{self.agent} seed +")


@dataclass(frozen=True)
class Lost:
    """A job without a result."""

    name: str
    overrides: dict[str, str]
    sentence: str  # why


@dataclass(frozen=True)
class Sweep:
    """All jobs of a folder."""

    folder: Path
    runs: tuple[Run, ...]
    failed: tuple[Lost, ...]
    unfinished: tuple[Lost, ...]
    swept: tuple[str, ...]  # settings that differ between jobs, seeds of training left out


def read_sweep(folder: Path) -> Sweep:
    """Read a sweep's folder, or that of a single run.

    Raises:
        UserError: where there is no job at all, or none that is over.
    """
    jobs = _job_folders(folder)
    runs, failed, unfinished = [], [], []
    for place in jobs:
        name = folder.name if place == folder else str(place.relative_to(folder))
        if (place / SUMMARY).is_file():
            runs.append(_run(place, name))
        elif (place / FAILED).is_file():
            failed.append(Lost(name, _overrides(place), _why(place / FAILED)))
        else:
            sentence = "it has neither a summary nor an error: it was killed, or is still running."
            unfinished.append(Lost(name, _overrides(place), sentence))
    if not runs:
        said = f": {failed[0].name} failed: {failed[0].sentence}" if failed else ""
        raise UserError(
            f"sweep={folder} holds no run that is over ({len(failed)} failed, {len(unfinished)} "
            f"unfinished){said or ': expected the folder of python -m agents.train'}"
        )
    swept = _swept([job.overrides for job in runs])
    # of a job that failed, what sets it apart is often what it failed of
    lost = [job.overrides for job in (*failed, *unfinished)]
    differing = _swept([*(run.overrides for run in runs), *lost])
    return Sweep(
        folder,
        tuple(replace(run, overrides=_only(run.overrides, (*swept, SEED))) for run in runs),
        tuple(_shortened(job, differing) for job in failed),
        tuple(_shortened(job, differing) for job in unfinished),
        swept,
    )


def _job_folders(folder: Path) -> list[Path]:
    def is_job(place: Path) -> bool:
        return any((place / name).is_file() for name in (SUMMARY, FAILED, CONFIG, OVERRIDES))

    if is_job(folder):
        return [folder]
    found: list[Path] = []
    for depth in range(1, DEPTH + 1):
        places = [place for place in folder.glob("/".join("*" * depth)) if place.is_dir()]
        found += [p for p in places if is_job(p) and not any(q in p.parents for q in found)]
    # 2 before 10
    return sorted(found, key=lambda place: [(len(part), part) for part in place.parts])


def _run(place: Path, name: str) -> Run:
    try:
        summary = json.loads((place / SUMMARY).read_text())
        settings: Any = OmegaConf.to_container(OmegaConf.load(place / CONFIG))
        overrides = _overrides(place)
        for needed in NEEDED:
            summary[needed]
    except (OSError, ValueError, TypeError, KeyError, YAMLError) as error:
        said = " ".join(str(error).split())
        raise UserError(
            f"{place} cannot be read ({said}): expected {SUMMARY} and {CONFIG} as agents.train "
            "leaves them; remove the folder to report on the others."
        ) from error
    return Run(name, place, dict(settings), summary, overrides, read_shoppers(place))


def _overrides(place: Path) -> dict[str, str]:
    """The settings that were given, by name."""
    if not (place / OVERRIDES).is_file():
        return {}
    lines: Any = OmegaConf.to_container(OmegaConf.load(place / OVERRIDES))
    pairs = [str(line).lstrip("+~").partition("=") for line in lines]
    return {key: value for key, _, value in pairs}


def _why(path: Path) -> str:
    try:
        return " ".join(str(json.loads(path.read_text())["error"]).split())
    except (OSError, ValueError, KeyError):
        return f"{path.name} cannot be read."


def _swept(given: Sequence[dict[str, str]]) -> tuple[str, ...]:
    """Settings of which jobs have different values, in their order."""
    keys = dict.fromkeys(key for overrides in given for key in overrides)
    differing = [key for key in keys if len({overrides.get(key) for overrides in given}) > 1]
    return tuple(key for key in differing if key not in (SEED, "resume"))


def _only(overrides: dict[str, str], keys: tuple[str, ...]) -> dict[str, str]:
    return {key: value for key, value in overrides.items() if key in keys}


def _shortened(job: Lost, differing: tuple[str, ...]) -> Lost:
    return replace(job, overrides=_only(job.overrides, (*differing, SEED)))


def short_names(keys: tuple[str, ...]) -> dict[str, str]:
    """The last part of each setting's name, the whole where two end alike."""
    last = {key: key.rpartition(".")[2] for key in keys}
    count = Counter(last.values())
    return {key: name if count[name] == 1 else key for key, name in last.items()}
