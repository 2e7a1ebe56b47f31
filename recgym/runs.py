"""A finished run, as the mains that open one find its folder: whole, or a sentence on what is not.

Beyond what a run that is over leaves, a folder may hold ``failed.json``, which says why a job of a
sweep failed, or ``resume.pt``, the state that a killed run goes on from.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException
from yaml import YAMLError

from recgym.errors import UserError

SUMMARY, FIT, CONFIG, MODEL = "summary.json", "fit.json", "config.yaml", "model"


def run_folder(cfg: DictConfig) -> Path:
    """The folder that ``run=`` names.

    Raises:
        UserError: if the setting was not given.
    """
    if cfg.run is None:
        raise UserError(
            "run is missing: set run=DIR, the folder that python -m agents.train printed."
        )
    return Path(str(cfg.run))  # a name may be all digits


def read_run(folder: Path, *, fits: bool = False) -> tuple[dict[str, Any], dict[str, Any]]:
    """The settings and the summary of a run; with ``fits`` those of a fit alone too.

    Raises:
        UserError: if it is none, is not over or is damaged, or its log is gone.
    """
    # a fit alone says the same of log and model, and nothing of policies
    name = FIT if fits and (folder / FIT).is_file() else SUMMARY
    for needed in (name, CONFIG, MODEL):
        if not (folder / needed).exists():
            raise UserError(_unfinished(folder, needed, fits))
    file = folder / name
    try:
        summary = json.loads(file.read_text())
        log = Path(summary["log"]["folder"])
        file = folder / CONFIG
        settings: Any = OmegaConf.to_container(OmegaConf.load(file), resolve=True)
        settings["log"]
    except (ValueError, KeyError, TypeError, YAMLError, OmegaConfBaseException) as error:
        said = " ".join(str(error).split())
        raise UserError(f"{file} is damaged ({said}): make the run again.") from error
    if not (log / "meta.json").is_file():
        raise UserError(
            f"the log of run={folder} is gone ({log} holds no cleaned log): start from the folder "
            "in which the run was made, or make the run again."
        )
    return settings, summary


def _unfinished(folder: Path, lacking: str, fits: bool) -> str:
    also = ", or one of python -m recgym.fit" if fits else ""
    expected = f"expected the folder that python -m agents.train printed under 'files'{also}"
    if folder.is_file():
        expected = f"it is a file; {expected}"
    elif not folder.exists():
        expected = f"there is no such folder; {expected}"
    elif (folder / "failed.json").is_file():
        expected = f"the job failed, and its failed.json says why; {expected}"
    elif (folder / "resume.pt").is_file():
        expected = (
            "it was killed or still runs; go on with it by python -m agents.train "
            f"resume={folder}, a job of a sweep by the command of the sweep"
        )
    return f"run={folder} is no finished run (it lacks {lacking}): {expected}."
