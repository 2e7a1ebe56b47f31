"""experiments.speed.ingest: the figure on a small log, and what its log holds."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from experiments.speed.ingest import GOAL, clean, ingest, write_log
from recgym.logs.log import open_log

ROWS = 20_000


def test_the_figure_says_what_was_measured() -> None:
    """Why: a figure without its sizes and its limit cannot be compared with another."""
    figure = ingest(num_rows=ROWS, repeats=1)
    settings = figure.settings
    assert figure.figure == "ingest" and figure.unit == "rows/s" and figure.goal == GOAL
    assert figure.limit is not None and figure.ratio == pytest.approx(figure.value / figure.limit)
    assert figure.limit == pytest.approx(settings["rows"] / settings["read_s"][0])
    assert figure.value == pytest.approx(settings["rows"] / settings["clean_s"][0])
    assert settings["rows"] == ROWS + 1  # one line is cut short
    assert settings["rows"] == settings["kept"] + sum(settings["set_aside"].values())
    assert settings["bytes"] > 50 * ROWS and settings["peak_mib"] > 50
    assert json.loads(json.dumps(settings)) == settings


def test_the_log_is_like_a_shops(tmp_path: Path) -> None:
    """Why: speed on a log without repeats, dirt, returning shoppers or prices says little."""
    path, out = tmp_path / "log.csv", tmp_path / "out"
    write_log(path, ROWS, seed=3)
    rows = clean(path, out, "1GB")["rows"]
    assert rows["set_aside"].keys() == {
        "exact duplicate", "missing shopper", "price is not a number", "malformed line",
    }  # fmt: skip
    assert sum(rows["set_aside"].values()) < 0.02 * rows["in"]
    log = open_log(out)
    assert log.meta["events"].keys() == {"view", "cart", "remove", "purchase"}
    assert "price changes within an item" not in log.meta["missing"]
    query = "SELECT avg((n > 1)::INT) FROM (SELECT count(*) n FROM sessions GROUP BY shopper)"
    assert 0.15 < log.db.execute(query).fetchall()[0][0] < 0.35


def test_the_same_seed_writes_the_same_log(tmp_path: Path) -> None:
    """Why: figures of two days are compared on one file."""
    for name, seed in (("a", 1), ("b", 1), ("c", 2)):
        write_log(tmp_path / name, 2000, seed=seed)
    a, b, c = ((tmp_path / name).read_bytes() for name in "abc")
    assert a == b != c
