"""What a run leaves behind, so that it stands on its own."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from pathlib import Path
from pickle import UnpicklingError
from typing import Any

import torch

from agents.loop import AGENT, PROGRESS
from recgym.errors import UserError
from recgym.files import write_json
from recgym.runs import MODEL, SUMMARY

OVERRIDES = Path(".hydra") / "overrides.yaml"  # what was given to the run


def keep(
    folder: Path,
    summary: dict[str, Any],
    table: str,
    model_folder: Path,
    member_folders: Sequence[Path] = (),
) -> None:
    """Leave a run folder that `agents.evaluate` can open on its own."""
    shutil.copytree(model_folder, folder / MODEL, dirs_exist_ok=True)
    for number, member in enumerate(member_folders):
        shutil.copytree(member, folder / "members" / str(number), dirs_exist_ok=True)
    (folder / "table.txt").write_text(table + "\n")
    write_json(folder / SUMMARY, summary)
    (folder / PROGRESS).unlink(missing_ok=True)  # the run is over


def restore(agent: Any, folder: Path, device: torch.device) -> None:
    """Bring the agent to what it was at the end of a run; one that left nothing stays as it is.

    Raises:
        UserError: where its file is damaged, or of another version of the agent.
    """
    file = folder / AGENT
    if not file.is_file():
        return
    try:
        agent.load_state_dict(torch.load(file, map_location=device, weights_only=True))
    except (RuntimeError, KeyError, ValueError, EOFError, UnpicklingError) as error:
        said = " ".join(str(error).split())[:120]
        raise UserError(
            f"{file} is damaged, or of another version ({said}): make the run again."
        ) from error


def file_lines(summary: dict[str, Any], folder: Path) -> list[str]:
    """Times, and where all lies: what a run prints last."""
    taken = "  ".join(f"{k} {v:.0f} s" for k, v in summary["seconds"].items())
    return [
        f"time         {taken}",
        f"files        {folder}",
        f"TensorBoard  tensorboard --logdir {folder.parent}",
    ]
