"""recgym.logs.loading: what is guessed from the first rows of a log may be wrong for the rest."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from log_files import START_S, event, read_rows, write_csv

from recgym.logs.csv import Csv
from recgym.logs.loading import GUESS_ROWS
from recgym.logs.log import Log

FIRST = GUESS_ROWS + 500  # DuckDB reads far more at once, so that both parts meet in one file


def clean(tmp_path: Path, rows: list[dict[str, Any]], **options: Any) -> Log:
    file = write_csv(tmp_path / "log.csv", rows)
    return Csv(path=str(file), **options).clean(tmp_path / "out")


def numbered(seconds: float = 60) -> list[dict[str, Any]]:
    return [
        event(100 + i % 50, 7 * (i // 10), seconds * i, "view", 10 + i % 9, 5) for i in range(FIRST)
    ]


def test_ids_that_are_numbers_are_written_as_numbers(tmp_path: Path) -> None:
    """Why: they take less room and join faster, and their order is the one people expect."""
    log = clean(tmp_path, numbered())
    assert read_rows(log.folder / "items.parquet", "item")[:2] == [(10,), (11,)]


def test_one_late_id_that_is_text_keeps_all_ids_as_they_were(tmp_path: Path) -> None:
    """Why: 007 and 7 are two articles; no row may be lost or changed by a guess."""
    late = [event(100, "late", 60 * FIRST, "view", "007", 5), event("x1", "", 1, "view", "7", 5)]
    log = clean(tmp_path, numbered() + late)
    items = [item for (item,) in read_rows(log.folder / "items.parquet", "item")]
    assert "007" in items and "7" in items and "10" in items
    shoppers = [who for (who,) in read_rows(log.folder / "shoppers.parquet", "shopper")]
    assert "x1" in shoppers and len(shoppers) == 51
    account = log.meta["rows"]["events"]
    assert account == {"in": FIRST + 2, "kept": FIRST + 2, "set_aside": {}}


def test_blanks_around_a_number_do_not_make_it_text(tmp_path: Path) -> None:
    """Why: the id is the same; what was set aside is still shown as it was given."""
    last = [event(" 100", 0, 0, "view", " 10", 5), event("100 ", 0, 1, "look", 10, 5)]
    log = clean(tmp_path, numbered() + last)
    assert read_rows(log.folder / "shoppers.parquet", "count(*), min(shopper)") == [(50, 100)]
    aside = read_rows(log.folder / "set_aside.parquet", "reason, shopper, item")
    assert aside == [("exact duplicate", " 100", " 10"), ("unknown event", "100 ", "10")]


def test_the_commonest_time_format_counts_not_the_first(tmp_path: Path) -> None:
    """Why: the unit is that of the column; a few first rows in seconds must not decide it."""
    rows = numbered()
    for row in rows[:20]:
        row["time"] = int(row["time"])
    for row in rows[20:]:
        row["time"] = int(row["time"]) * 1000
    log = clean(tmp_path, rows)
    assert log.meta["rows"]["events"]["set_aside"] == {"time in another format": 20}
    for row in rows[:GUESS_ROWS]:
        row["time"] = START_S + 1 if row["time"] > 1e11 else row["time"]
    rows += [row | {"time": 1000 * (START_S + 9000 * i)} for i, row in enumerate(rows)]
    log = clean(tmp_path, rows, max_set_aside=0.5)
    assert log.meta["rows"]["events"]["set_aside"]["time in another format"] == GUESS_ROWS


def test_a_repeated_row_is_shown_with_the_time_it_was_given(tmp_path: Path) -> None:
    """Why: whoever mends the file looks for that text."""
    times = ["2020-09-13 12:00:00 UTC", "2020-09-13T12:00:00Z", "2020-09-13 14:00:00+02"]
    rows = [row | {"time": f"2020-09-14 00:{i % 60:02}:00 UTC"} for i, row in enumerate(numbered())]
    same = event(1, "s", 0, "view", 10, 5)
    log = clean(tmp_path, rows + [same | {"time": time} for time in (times[0], *times)])
    aside = read_rows(log.folder / "set_aside.parquet", "row, reason, time")
    found = [(reason, time) for row, reason, time in aside if row > FIRST]
    assert found == [("exact duplicate", time) for time in times]
