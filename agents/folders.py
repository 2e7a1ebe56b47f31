"""What a run leaves behind, so that it stands on its own."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from agents.loop import PROGRESS
from recgym.files import write_json

CONFIG, SUMMARY = "config.yaml", "summary.json"
OVERRIDES = Path(".hydra") / "overrides.yaml"  # what was given to the run


def keep(
    folder: Path,
    summary: dict[str, Any],
    table: str,
    model_folder: Path,
    member_folders: Sequence[Path] = (),
) -> None:
    """Leave a run folder that `agents.evaluate` can open on its own."""
    shutil.copytree(model_folder, folder / "model", dirs_exist_ok=True)
    for number, member in enumerate(member_folders):
        shutil.copytree(member, folder / "members" / str(number), dirs_exist_ok=True)
    (folder / "table.txt").write_text(table + "\n")
    write_json(folder / SUMMARY, summary)
    (folder / PROGRESS).unlink(missing_ok=True)  # the run is over


def file_lines(summary: dict[str, Any], folder: Path) -> list[str]:
    """Times, and where all lies: what a run prints last."""
    taken = "  ".join(f"{k} {v:.0f} s" for k, v in summary["seconds"].items())
    return [
        f"time         {taken}",
        f"files        {folder}",
        f"TensorBoard  tensorboard --logdir {folder.parent}",
    ]
