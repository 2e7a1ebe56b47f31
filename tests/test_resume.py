"""agents.train resume=DIR: a run killed by the system goes on, and says so where it cannot."""

from __future__ import annotations

import json
import random
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
import torch
from tiny import TRAIN, WORLD, below, call

from agents import train
from agents.loop import AGENT, PROGRESS

pytestmark = pytest.mark.slow
LONG = [*TRAIN, *WORLD, "steps=1920", "checkpoint_steps=320", "evaluation.sessions=20"]


def values(folder: Path) -> Any:
    summary = json.loads((folder / "summary.json").read_text())
    return summary["policies"], summary["environment_steps"]


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory, kept: Path) -> Path:
    folder = tmp_path_factory.mktemp("resume")
    call(train.main, *LONG, *below(folder, "whole", kept))
    return folder


def killed(folder: Path, seed: int, cache: Path) -> None:
    """Start the same run on its own and kill it at a random moment after its first state."""
    command = [sys.executable, "-m", "agents.train", *LONG, *below(folder, "killed", cache)]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        until = time.monotonic() + 240
        while not (folder / "killed" / PROGRESS).exists():
            assert process.poll() is None and time.monotonic() < until
            time.sleep(0.01)
        time.sleep(random.Random(seed).uniform(0.0, 0.3))
    finally:
        process.send_signal(signal.SIGKILL)
        process.wait()


def test_a_killed_run_ends_as_one_that_was_not(home: Path, kept: Path) -> None:
    # Why: hours of training are lost otherwise, and a run that goes on must not be another one.
    killed(home, seed=0, cache=kept)
    folder = home / "killed"
    assert not (folder / AGENT).exists() and not (folder / "summary.json").exists()
    call(train.main, f"resume={folder}")
    whole = torch.load(home / "whole" / AGENT, weights_only=True)
    ended = torch.load(folder / AGENT, weights_only=True)
    for network in ("network", "target"):
        assert all(torch.equal(ended[network][k], v) for k, v in whole[network].items())
    assert values(folder) == values(home / "whole")
    assert not (folder / PROGRESS).exists()


def test_the_same_folder_without_resume_is_another_run(home: Path, kept: Path) -> None:
    # Why: a folder named by hand may hold the state of a killed run with other settings.
    folder = home / "again"
    folder.mkdir()
    (folder / PROGRESS).write_bytes(b"of another run")
    call(train.main, *LONG, *below(home, "again", kept))
    assert values(folder) == values(home / "whole") and not (folder / PROGRESS).exists()


@pytest.mark.parametrize(
    ("overrides", "sentence"),
    [
        (["resume={whole}"], "is a run that is over"),
        (["resume={whole}", "steps=10"], "steps=10 cannot go with resume="),
        (["resume={home}/missing"], "holds no config.yaml"),
    ],
)
def test_what_cannot_be_resumed_ends_in_a_sentence(
    home: Path, overrides: list[str], sentence: str, capsys: pytest.CaptureFixture[str]
) -> None:
    # Why: a path from yesterday, or settings that would make it another run.
    given = [text.format(whole=home / "whole", home=home) for text in overrides]
    with pytest.raises(SystemExit) as stopped:
        call(train.main, *given)
    assert stopped.value.code == 1
    error = capsys.readouterr().err
    assert sentence in error and "Traceback" not in error
