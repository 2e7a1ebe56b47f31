"""recgym.logs.eshop_clothing: both headers, days and order as times, and what is no date."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pytest
from log_files import read_rows

from recgym.errors import UserError
from recgym.logs.eshop_clothing import EshopClothing
from recgym.types import DAY_MS

OWN = (
    "year;month;day;order;country;session ID;page 1 (main category);page 2 (clothing model);colour;"
    "location;model photography;price;price 2;page"
)
PACKAGED = (
    "year,month,day,order,country,session_id,page1_main_category,page2_clothing_model_code,colour,"
    "location,model_photography,price,price_2,page"
)
APRIL_1_MS = 1_207_008_000_000  # 2008-04-01 UTC
# session s of day s, of two clicks: on a shirt of its own and on the dress of all
CLICKS = [
    (
        2008,
        4,
        session,
        order,
        29 if session < 8 else 9,
        session,
        1 + order,
        model,
        1,
        5,
        1,
        28,
        2,
        1,
    )
    for session in range(1, 11)
    for order, model in ((1, f"A{session}"), (2, "B26"))
]


def write(folder: Path, header: str, rows: Sequence[tuple[object, ...]]) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    separator = ";" if ";" in header else ","
    lines = [header, *(separator.join(map(str, row)) for row in rows)]
    (folder / "e-shop clothing 2008.csv").write_text("\n".join(lines) + "\n")
    return folder


def test_clicks_stand_a_second_apart_from_midnight_on(tmp_path: Path) -> None:
    # Why: the file has no time; the order of clicks is all that may be read of it.
    found = {}
    for name, header in (("own", OWN), ("packaged", PACKAGED)):
        path = write(tmp_path / name, header, CLICKS)
        log = EshopClothing(path=str(path)).clean(tmp_path / f"log-{name}")
        rows = read_rows(
            log.folder / "events.parquet", "shopper, session, time, event, item, price"
        )
        found[name] = rows
    assert found["own"] == found["packaged"] and len(found["own"]) == 20
    first, second = sorted(row for row in found["own"] if str(row[0]) == "3")
    at = APRIL_1_MS + 2 * DAY_MS
    assert [row[2] for row in (first, second)] == [at, at + 1000]
    assert [str(row[4]) for row in (first, second)] == ["A3", "B26"] and first[5] == 28.0
    assert {row[3] for row in found["own"]} == {"view"}
    # eight sessions of ten are trained on: seven from country 29, one from 9; all others lie apart
    sessions = log.sessions()
    (field,) = log.fields()
    assert (field.name, field.levels) == ("country", ["29", "9"])
    assert sessions.profile.tolist() == [[1.0, 0.0, 0.0]] * 7 + [[0.0, 1.0, 0.0]] * 3


def test_what_is_no_date_is_set_aside_and_a_missing_column_ends_in_a_sentence(
    tmp_path: Path,
) -> None:
    bad = [(2008, 2, 31, 1, 29, 99, 1, "A1", 1, 5, 1, 28, 2, 1)]
    path = write(tmp_path / "bad", OWN, CLICKS + bad)
    log = EshopClothing(path=str(path), max_set_aside=0.5).clean(tmp_path / "log")
    ((row, reason),) = read_rows(log.folder / "set_aside.parquet", "row, reason")
    assert row == 21 and "time" in reason
    # "price 2" only says whether a price is above the category's mean: it is no stand-in
    for column, header in (("order", OWN.replace("order", "clicks")),
                           ("price", PACKAGED.replace("price,", "cost,"))):  # fmt: skip
        path = write(tmp_path / column, header, CLICKS)
        with pytest.raises(UserError, match=f"lacks the column '{column}' of the e-shop clothing"):
            EshopClothing(path=str(path)).clean(tmp_path / "none")
        assert not (tmp_path / "none").exists()
