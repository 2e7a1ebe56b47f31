"""What a run leaves behind, so that it stands on its own."""

from __future__ import annotations

import json
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from agents.loop import PROGRESS

CONFIG, SUMMARY = "config.yaml", "summary.json"


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


def write_json(path: Path, content: dict[str, Any]) -> None:
    """Write beside and rename, so that a kill leaves the old file whole."""
    beside = path.with_name(f".{path.name}.tmp")
    beside.write_text(json.dumps(content, indent=2) + "\n")
    beside.rename(path)


def file_lines(summary: dict[str, Any], folder: Path) -> list[str]:
    """Times, and where all lies: what a run prints last."""
    taken = "  ".join(f"{k} {v:.0f} s" for k, v in summary["seconds"].items())
    return [
        f"time         {taken}",
        f"files        {folder}",
        f"TensorBoard  tensorboard --logdir {folder.parent}",
    ]
