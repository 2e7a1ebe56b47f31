"""The command line: whatever a user gets wrong ends in one sentence, exit code 1, nothing left."""

from __future__ import annotations

import gzip
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from log_files import event, write_csv, write_text
from omegaconf import OmegaConf
from tiny import below, call

from agents import evaluate, train
from recgym import fit
from recgym.cli import check_numbers
from recgym.errors import UserError
from recgym.locks import LOCKS

Rows = list[dict[str, Any]]
NAMES = ("view", "cart", "purchase")
GOOD: Rows = [
    event(f"u{i % 5}", f"s{i}", 60 * i, NAMES[i % 3], "ABC"[i % 3], 10, 1) for i in range(40)
]


def spoilt(column: str, value: object) -> Rows:
    """Good rows with one column spoilt in every fourth."""
    return [row | ({column: value} if i % 4 == 1 else {}) for i, row in enumerate(GOOD)]


def rows(folder: Path, content: Rows, separator: str = ",") -> Path:
    return write_csv(folder / "log.csv", content, separator)


def cut(folder: Path) -> Path:
    whole = write_csv(folder / "whole.csv.gz", GOOD * 30).read_bytes()
    path = folder / "log.csv.gz"
    path.write_bytes(whole[: len(whole) // 2])
    assert path.stat().st_size < len(gzip.compress(b"")) + len(whole)
    return path


# name: how to write the log, what the sentence must name
BAD: dict[str, tuple[Callable[[Path], Path], tuple[str, ...]]] = {
    "missing column": (
        lambda f: rows(f, [{k: v for k, v in row.items() if k != "item"} for row in GOOD]),
        ("log.csv", "item", "log.columns.item="),
    ),
    "empty file": (lambda f: write_text(f / "log.csv", ""), ("log.csv", "empty", "log.path=")),
    "wrong separator": (lambda f: rows(f, GOOD, ";"), ("log.csv", "log.separator=")),
    "text in a number column": (
        lambda f: rows(f, spoilt("price", "free")),
        ("log.csv", "'price'", "'free'", "log.columns.price="),
    ),
    "mixed time formats": (
        lambda f: rows(f, spoilt("time", "2020-09-13 12:00:00")),
        ("log.csv", "'time'", "log.time_unit="),
    ),
    "unknown event names": (
        lambda f: rows(f, spoilt("event", "click")),
        ("log.csv", "'event'", "'click'", "+log.events.click=view"),
    ),
    "negative prices": (
        lambda f: rows(f, spoilt("price", -3)),
        ("log.csv", "'price'", "'-3'"),
    ),
    "one shopper": (
        lambda f: rows(f, [row | {"shopper": "u"} for row in GOOD]),
        ("log.csv", "shopper"),
    ),
    "one item": (lambda f: rows(f, [row | {"item": "A"} for row in GOOD]), ("log.csv", "item")),
    "truncated gzip": (cut, ("log.csv.gz", "gzip")),
    "no such folder": (lambda f: f / "nowhere", ("nowhere", "log.path=")),
}
CALLS: list[tuple[str, list[str], tuple[str, ...]]] = [
    ("unknown agent", ["agent=foo"], ("agent=foo", "dqn, greedy, greedy_clicks, iql, item_knn")),
    ("nothing to compile", ["agent=cql", "compile=true"], ("compile=true", "agent=cql")),
    (
        "unknown log",
        ["log=foo"],
        ("log=foo", "csv, default, eshop_clothing, folder, online_retail, rees46, taobao"),
    ),
    ("misspelt key", ["agent.gama=0.9"], ("agent.gama", "did you mean agent.gamma?")),
    ("misspelt main key", ["stpes=9"], ("stpes", "did you mean steps?")),
    ("half an override", ["steps=["], ("steps=[",)),
    ("words for a number", ["steps=many"], ("steps=many", "whole number")),
    ("no slot at all", ["num_slots=0"], ("num_slots=0", "at least 1")),
    ("unknown reward", ["reward=clicks"], ("reward='clicks'", "revenue")),
    ("unknown device", ["device=tpu9"], ("device='tpu9'", "'auto'")),
    ("words for a discount", ["agent.gamma=abc"], ("agent.gamma=abc", "a number from 0 to 1")),
    ("a discount above 1", ["agent.gamma=1.5"], ("agent.gamma=1.5", "from 0 to 1")),
    ("half a batch", ["agent.batch_size=0.5"], ("agent.batch_size=0.5", "whole number")),
    ("one epsilon", ["agent.epsilon=[0.1]"], ("agent.epsilon=[0.1]", "[a number from 0 to 1, a")),
    (
        "words for a model",
        ["user_model.model.dropout=no"],
        ("user_model.model.dropout=", "a number"),
    ),
    ("no number", ["user_model.fit.clip=nan"], ("user_model.fit.clip=nan", "a number")),
    ("unknown fit", ["+user_model.fit.speed=9"], ("user_model.fit.speed", "epochs")),
    ("no assumption", ["user_model.assumptions.rho=2"], ("rho=2", "from 0 to 1")),
    ("no draw", ["user_model.assumptions.range.draws=0"], ("range.draws=0", "at least 1")),
    ("a shop that writes no log", ["log=csv", "world=wild"], ("world=wild", "csv", "log=default")),
    ("a knob of no shop", ["+world.shown_pul=1"], ("shown_pul", "shown_pull")),
    ("one session", ["evaluation.sessions=1"], ("evaluation.sessions=1", "at least 2")),
]


def sentence(said: str, *named: str) -> None:
    """Exactly one ``error:`` sentence, which names all of ``named``."""
    lines = [line for line in said.splitlines() if line.strip()]
    assert len([line for line in lines if line.startswith("error: ")]) == 1, said
    assert "Traceback" not in said and "HYDRA_FULL_ERROR" not in said
    line = next(line for line in lines if line.startswith("error: "))
    for part in named:
        assert part in line, line


def refused(
    main: Callable[[], Any], capsys: pytest.CaptureFixture[str], folder: Path, *overrides: str
) -> str:
    """What a main says on standard error before it exits with 1; nothing is left in the cache."""
    with pytest.raises(SystemExit) as stopped:
        call(main, *overrides, *below(folder))
    assert stopped.value.code == 1
    cache = folder / "cache"
    assert not cache.exists() or {path.name for path in cache.iterdir()} <= {LOCKS}
    return capsys.readouterr().err


@pytest.mark.parametrize("main", [train.main, fit.main], ids=["train", "fit"])
@pytest.mark.parametrize("name", BAD)
def test_a_bad_log_ends_in_a_sentence(
    name: str, main: Callable[[], Any], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    # Why: the file, what is wrong and the remedy are all that its owner needs.
    write, named = BAD[name]
    path = write(tmp_path)
    said = refused(main, capsys, tmp_path, "log=csv", f"log.path={path}", "device=cpu")
    sentence(said, *named)


@pytest.mark.parametrize(("overrides", "named"), [x[1:] for x in CALLS], ids=[x[0] for x in CALLS])
def test_a_bad_setting_ends_in_a_sentence(
    overrides: list[str],
    named: tuple[str, ...],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    # Why: before any work, with the names that would have been right.
    sentence(refused(train.main, capsys, tmp_path, *overrides), *named)


@pytest.mark.parametrize(
    ("overrides", "named"),
    [([], ("run=DIR",)), (["run=nowhere"], ("nowhere", "summary.json"))],
    ids=["no run", "no such run"],
)
def test_a_bad_run_ends_in_a_sentence(
    overrides: list[str],
    named: tuple[str, ...],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    # Why: the folder is typed by hand.
    with pytest.raises(SystemExit) as stopped:
        call(evaluate.main, *overrides, f"hydra.run.dir={tmp_path}")
    assert stopped.value.code == 1
    sentence(capsys.readouterr().err, *named)


def test_a_bug_keeps_its_traceback(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # Why: only what a user can mend is cut down to a sentence.
    def broken(*_: object, **__: object) -> None:
        raise ZeroDivisionError("ours")

    monkeypatch.setattr(train, "run", broken)
    with pytest.raises(ZeroDivisionError, match="ours"):
        call(train.main, *below(tmp_path))


@pytest.mark.parametrize("value", ["x", 0, 1.5, True, None])
def test_numbers_are_checked_by_hand(value: object) -> None:
    # Why: OmegaConf takes any value for any key.
    cfg = OmegaConf.create({"a": {"b": value}, "c": 1})
    check_numbers(cfg, {"c": 1})
    with pytest.raises(UserError, match=rf"a\.b={value}: expected a whole number of at least 1"):
        check_numbers(cfg, {"a.b": 1})


def test_the_same_from_a_shell(tmp_path: Path) -> None:
    # Why: exit code and standard error as a shell sees them, without pytest in between. All mains
    # end by `recgym.cli.command`; what else ends so is above, in this process.
    rows(tmp_path, spoilt("price", "free"))
    asked = ["log=csv", f"log.path={tmp_path / 'log.csv'}", *below(tmp_path)]
    done = subprocess.run(
        [sys.executable, "-m", "recgym.fit", *asked],
        capture_output=True,
        text=True,
        cwd=tmp_path,
        env={k: v for k, v in os.environ.items() if k != "HYDRA_FULL_ERROR"},
    )
    assert done.returncode == 1
    sentence(done.stderr, "'price'", "'free'")
    assert "Traceback" not in done.stdout
    cache = tmp_path / "cache"
    assert not cache.exists() or {path.name for path in cache.iterdir()} <= {LOCKS}
