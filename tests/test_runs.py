"""recgym.runs: a folder that is no finished run ends in a sentence that says what it is instead."""

from __future__ import annotations

import errno
import json
from pathlib import Path

import pytest

from recgym.cli import sentence, use_threads
from recgym.errors import UserError
from recgym.runs import read_run


@pytest.fixture
def run(tmp_path: Path) -> Path:
    """As a run leaves it, but for what the tests do not open."""
    folder, log = tmp_path / "run", tmp_path / "log"
    (folder / "model").mkdir(parents=True)
    log.mkdir()
    (log / "meta.json").write_text("{}")
    (folder / "config.yaml").write_text("log: {name: csv}\nagain: ${log.name}\n")
    (folder / "summary.json").write_text(json.dumps({"log": {"folder": str(log)}}))
    return folder


def test_a_finished_run_gives_its_settings_and_its_summary(run: Path, tmp_path: Path) -> None:
    # Why: four mains open runs by it; of a fit alone they read fit.json, where they take one.
    settings, summary = read_run(run)
    assert settings == {"log": {"name": "csv"}, "again": "csv"}
    assert summary == {"log": {"folder": str(tmp_path / "log")}}
    (run / "summary.json").rename(run / "fit.json")
    assert read_run(run, fits=True) == (settings, summary)
    with pytest.raises(UserError, match=r"lacks summary\.json"):
        read_run(run)


@pytest.mark.parametrize(
    ("file", "text", "said"),
    [
        ("summary.json", "{", r"summary\.json is damaged .*: make the run again"),
        ("summary.json", "[]", r"summary\.json is damaged"),
        ("summary.json", '{"log": {"folder": "gone"}}', r"the log of run=.* is gone \(gone holds"),
        ("config.yaml", "log: [", r"config\.yaml is damaged"),
        ("config.yaml", "seed: 0", r"config\.yaml is damaged \('log'\)"),
        ("config.yaml", None, r"is no finished run \(it lacks config\.yaml\)"),
    ],
)
def test_a_damaged_run_says_which_file(run: Path, file: str, text: str | None, said: str) -> None:
    # Why: a disk that filled up, or a hand that edited, leaves such files; a traceback names none.
    (run / file).unlink() if text is None else (run / file).write_text(text)
    with pytest.raises(UserError, match=said) as caught:
        read_run(run)
    assert len(str(caught.value).splitlines()) == 1


def test_what_never_ended_says_how_to_go_on(run: Path, tmp_path: Path) -> None:
    # Why: the folder of a job that failed, or was killed, is what people pass.
    (run / "summary.json").unlink()
    (run / "resume.pt").touch()
    with pytest.raises(UserError, match=rf"killed or still runs; go on .* resume={run}"):
        read_run(run)
    (run / "failed.json").touch()
    with pytest.raises(UserError, match=r"the job failed, and its failed\.json says why"):
        read_run(run)
    with pytest.raises(UserError, match="it is a file; expected the folder"):
        read_run(run / "config.yaml")
    with pytest.raises(UserError, match=r"there is no such folder; .*python -m recgym.fit"):
        read_run(tmp_path / "nowhere", fits=True)


def test_a_place_that_cannot_be_written_is_one_sentence() -> None:
    # Why: full disks and folders of other people end runs every day; a missing file may be a bug.
    said = sentence(OSError(errno.EACCES, "Permission denied", "/shared/cache"))
    assert said.startswith("/shared/cache: Permission denied; expected a place that can be read")
    assert sentence(OSError(errno.ENOSPC, "No space left on device")).startswith("a file: No space")
    assert sentence(FileNotFoundError(errno.ENOENT, "No such", "x")).startswith("FileNotFoundError")


@pytest.mark.parametrize("number", [0, -3, "many", True, 1.5])
def test_no_number_of_threads_is_refused(number: object) -> None:
    # Why: torch raises of its own, and takes 0 for something else than all cores.
    with pytest.raises(UserError, match=f"num_threads={number}: expected a whole number of at"):
        use_threads(number)  # type: ignore[arg-type]
