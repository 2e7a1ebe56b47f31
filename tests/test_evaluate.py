"""agents.evaluate: what is no run is said so."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from agents.evaluate import open_run
from recgym.errors import UserError
from recgym.files import write_json

CPU = torch.device("cpu")


def test_a_folder_that_is_no_run_is_said_in_a_sentence(tmp_path: Path) -> None:
    # Why: `outputs` itself, or a run that was killed, is what people pass.
    with pytest.raises(UserError, match=r"lacks summary\.json.*agents\.train"):
        open_run(tmp_path, CPU)


def test_json_is_written_whole(tmp_path: Path) -> None:
    # Why: a kill between two bytes must leave the old file.
    write_json(tmp_path / "a.json", {"x": None})
    assert (tmp_path / "a.json").read_text() == '{\n  "x": null\n}\n'
    assert [path.name for path in tmp_path.iterdir()] == ["a.json"]
