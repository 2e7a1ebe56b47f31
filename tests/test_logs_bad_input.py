"""recgym.logs: what a careless user feeds it. Each case ends in one sentence and no folder."""

from __future__ import annotations

import gzip
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from log_files import START_S, csv_text, event, filler, write_csv, write_parquet, write_text

from recgym.errors import UserError
from recgym.logs.base import ReaderBase
from recgym.logs.csv import Csv
from recgym.logs.folder import Folder
from recgym.logs.log import open_log
from recgym.logs.rees46 import Rees46
from recgym.logs.taobao import Taobao

NOISE = random.Random(0).randbytes(3000)
Rows = list[dict[str, Any]]
GOOD: Rows = [
    event(f"u{i % 5}", f"s{i}", 60 * i, ["view", "cart", "purchase"][i % 3], "ABC"[i % 3], 10, 1)
    for i in range(40)
]


def refused(reader: ReaderBase, tmp_path: Path, *said: str) -> str:
    """The sentence, after checking that it names all of ``said`` and left nothing behind."""
    with pytest.raises(UserError) as caught:
        reader.clean(tmp_path / "out")
    sentence = str(caught.value)
    for part in said:
        assert part in sentence, sentence
    assert len(sentence.splitlines()) == 1, sentence
    left = {p.name for p in tmp_path.iterdir()}
    assert not any("out" in name for name in left), left
    return sentence


def changed(column: str, value: object, every: int = 4) -> Rows:
    """Good rows with one column spoilt in every fourth."""
    return [row | ({column: value} if i % every == 1 else {}) for i, row in enumerate(GOOD)]


def purchases(column: str, value: object) -> Rows:
    return [row | ({column: value} if row["event"] == "purchase" else {}) for row in GOOD]


BAD_COLUMNS: list[tuple[str, Rows, tuple[str, ...]]] = [
    ("text among prices", changed("price", "free"), ("'price'", "'free'", "log.columns.price=")),
    ("currency sign", changed("price", "$3"), ("'price'", "'$3'", "decimal point")),
    ("negative price", changed("price", -3), ("'price'", "'-3'", "0 or more", "returns")),
    ("free purchase", purchases("price", 0), ("'price'", "positive price", "log.columns.price=")),
    ("unknown event", changed("event", "click"), ("'event'", "'click'", "+log.events.click=view")),
    ("spaces", changed("event", "Add to cart"), ("'event'", "+log.events.add_to_cart=view")),
    ("mixed times", changed("time", "2020-09-13 12:00:00"), ("'time'", "log.time_unit=")),
    ("seconds and ms", changed("time", START_S * 1000), ("'time'", "log.time_unit=")),
    (
        "unreadable time",
        changed("time", "13/09/20 noon"),
        ("'time'", "ISO 8601", "log.columns.time"),
    ),
    ("year 1970", changed("time", 12345), ("'time'", "1990-01-01", "log.time_unit=")),
    ("no time", changed("time", ""), ("'time'", "log.columns.time=")),
    ("no shopper", changed("shopper", ""), ("'shopper'", "log.columns.shopper=NAME")),
    ("no item", changed("item", " "), ("'item'", "log.columns.item=NAME")),
    ("returns", changed("quantity", -1), ("'quantity'", "'-1'", "log.columns.quantity=null")),
    ("words for pieces", changed("quantity", "two"), ("'quantity'", "log.columns.quantity=null")),
    ("position", changed("position", 9000), ("'position'", "0 to 499", "log.columns.position=")),
    ("duplicates", GOOD + GOOD[:5], ("exact duplicate", "each row once")),
]


@pytest.mark.parametrize(("rows", "said"), [c[1:] for c in BAD_COLUMNS], ids=lambda x: None)
def test_a_spoilt_column_is_named_with_its_remedy(
    tmp_path: Path, rows: Rows, said: tuple[str, ...]
) -> None:
    """Why: a wrong number in a log is found at once or in the A/B test."""
    file = write_csv(tmp_path / "log.csv", rows)
    sentence = refused(Csv(path=str(file)), tmp_path, str(file), "expected", *said)
    assert "log.max_set_aside=" in sentence
    assert " row" in sentence


def test_max_set_aside_accepts_what_the_sentence_says(tmp_path: Path) -> None:
    """Why: a remedy that does not work is worse than none."""
    file = write_csv(tmp_path / "log.csv", changed("price", "free"))
    sentence = refused(Csv(path=str(file)), tmp_path, "log.max_set_aside=")
    share = float(sentence.rsplit("=", 1)[1])
    log = Csv(path=str(file), max_set_aside=share).clean(tmp_path / "out")
    assert log.meta["rows"]["events"]["set_aside"] == {"price is not a number": 10}


def test_their_column_name_is_the_one_in_the_sentence(tmp_path: Path) -> None:
    """Why: the user knows the file, not our words."""
    rows = [
        {("eur" if k == "price" else k): v for k, v in r.items()} for r in changed("price", "x")
    ]
    file = write_csv(tmp_path / "log.csv", rows)
    refused(Csv(path=str(file), columns={"price": "eur"}), tmp_path, "column 'eur'")


def cut(file: Path) -> None:
    data = gzip.compress(NOISE + csv_text(GOOD * 50).encode())
    file.write_bytes(data[: len(data) // 2])


def flipped(file: Path) -> None:
    data = bytearray(gzip.compress(csv_text(GOOD * 50).encode()))
    data[-6] ^= 255  # in the checksum: DuckDB alone would not notice
    file.write_bytes(bytes(data))


BAD_FILES: list[tuple[str, Callable[[Path], object], dict[str, Any], tuple[str, ...]]] = [
    ("gone.csv", lambda f: None, {}, ("does not exist", "log.path=")),
    ("log.csv", lambda f: f.touch(), {}, ("empty", "log.path=")),
    ("log.csv", lambda f: write_csv(f, []), {}, ("no rows", "log.path=")),
    ("log.csv", lambda f: write_csv(f, GOOD, ";"), {}, ("one column", "log.separator=semicolon")),
    ("log.csv", lambda f: write_csv(f, GOOD, "\t"), {}, ("one column", "log.separator=tab")),
    ("log.csv", lambda f: write_csv(f, GOOD), {"separator": "--"}, ("log.separator='--'",)),
    ("log.csv.gz", cut, {}, ("cut short", "gzip -t")),
    ("log.csv.gz", flipped, {}, ("damaged", "gzip -t")),
    ("log.csv.gz", lambda f: f.write_text("plain"), {}, ("damaged or not gzip", "gzip -t")),
    ("log.csv", lambda f: f.write_bytes(NOISE), {}, ("expected",)),
    ("log.csv", lambda f: write_text(f, csv_text(GOOD) + "a,b\n" * 9), {},
     ("malformed", "as many fields", "line 42")),
    ("log.csv", lambda f: f.write_bytes(csv_text(changed("item", "é")).encode("latin1")), {},
     ("malformed", "UTF-8")),
    ("log.csv", lambda f: f.write_bytes(csv_text(GOOD).encode() + b"a,b,1,view,c,1,1\r\nq,\n"), {},
     ("line end", "dos2unix")),
    ("log.csv", lambda f: write_text(f, "item,item,time\n1,2,3\n"), {}, ("'item' occurs twice",)),
    ("log.csv", lambda f: write_csv(f, GOOD), {"columns": {"shopper": "uid"}},
     ("'uid'", "log.columns.shopper=NAME", "'quantity'")),
    ("log.csv", lambda f: write_csv(f, GOOD), {"columns": {"user": "uid"}}, ("log.columns.user",)),
    ("log.csv", lambda f: write_csv(f, GOOD), {"events": {"pv": "look"}}, ("+log.events.pv=view",)),
    ("log.csv", lambda f: write_csv(f, GOOD), {"time_unit": "hours"}, ("log.time_unit=auto",)),
    ("log.csv", lambda f: write_csv(f, GOOD), {"memory_limit": "lots"}, ("log.memory_limit=4GB",)),
    ("log.csv", lambda f: write_csv(f, GOOD), {"valid_share": 0.6, "test_share": 0.4},
     ("log.valid_share=",)),
    ("log.csv", lambda f: write_csv(f, GOOD), {"max_set_aside": 2}, ("log.max_set_aside=0.02",)),
    ("log.csv", lambda f: write_csv(f, GOOD), {"session_gap_minutes": "long"},
     ("log.session_gap_minutes=30",)),
    ("log.parquet", lambda f: f.write_bytes(b"PAR1 nonsense"), {}, ("could not be read",)),
    ("logs", lambda f: f.mkdir(), {}, ("no data file", ".parquet", "log.path=")),
    ("log.csv", lambda f: write_csv(f, [r | {"shopper": "a"} for r in GOOD]), {},
     ("one shopper only", "log.columns.shopper=")),
    ("log.csv", lambda f: write_csv(f, [r | {"item": "A", "event": "view"} for r in GOOD]), {},
     ("one item only", "log.columns.item=")),
    ("log.csv", lambda f: write_csv(f, [r | {"session": "", "shopper": f"u{i % 2}"}
                                        for i, r in enumerate(GOOD)]), {},
     ("2 session(s)", "too few to split", "log.session_gap_minutes")),
]  # fmt: skip


@pytest.mark.parametrize(("name", "make", "options", "said"), BAD_FILES)
def test_a_bad_file_or_option_is_one_sentence(
    tmp_path: Path,
    name: str,
    make: Callable[[Path], object],
    options: dict[str, Any],
    said: tuple[str, ...],
) -> None:
    """Why: a traceback from DuckDB tells a shop nothing."""
    file = tmp_path / name
    make(file)
    refused(Csv(path=str(file), **options), tmp_path, *said)


@pytest.mark.parametrize("reader", [Csv, Folder, Rees46, Taobao])
def test_a_missing_path_is_asked_for(tmp_path: Path, reader: type[ReaderBase]) -> None:
    """Why: log=rees46 alone is what people type first."""
    refused(reader(), tmp_path, f"log={reader.name}", "set log.path=PATH")


@pytest.mark.parametrize("reader", [Folder, Rees46, Taobao])
def test_a_file_of_another_layout_is_refused(tmp_path: Path, reader: type[ReaderBase]) -> None:
    """Why: a CSV read under the wrong data set gives nonsense, or a pointer to log=csv."""
    file = write_csv(tmp_path / "log.csv", GOOD)
    refused(reader(path=str(file)), tmp_path, str(file), "log=csv")


def test_fixed_layouts_point_to_the_csv_reader(tmp_path: Path) -> None:
    """Why: a remedy must not name an override that the reader does not have."""
    rows = "".join(
        f"{i % 9},{i % 5},1,{'pv' if i % 3 else 'seen'},{1511544070 + i}\n" for i in range(90)
    )
    file = write_text(tmp_path / "UserBehavior.csv", rows)
    refused(
        Taobao(path=str(file)), tmp_path, "'behaviour'", "'seen'", "log=csv", "+log.events.seen"
    )


def test_folder_with_sessions_in_one_table_only(tmp_path: Path) -> None:
    """Why: pages would silently find no session."""
    types = {"shopper": "VARCHAR", "session": "VARCHAR", "time": "BIGINT", "item": "VARCHAR"}
    shop = tmp_path / "shop"
    shop.mkdir()
    write_parquet(shop / "events.parquet", GOOD, types | {"event": "VARCHAR"})
    shown = [row | {"session": None, "page": "p", "position": 0} for row in GOOD[:1]]
    columns = types | {"page": "VARCHAR", "position": "BIGINT"}
    write_parquet(shop / "impressions.parquet", shown, columns)
    refused(Folder(path=str(shop)), tmp_path, "'session'", "both or neither")


def test_nothing_else_is_overwritten(tmp_path: Path) -> None:
    """Why: a slip of the pen must not cost a folder."""
    file = write_csv(tmp_path / "log.csv", GOOD)
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.txt").write_text("years")
    with pytest.raises(UserError, match="exists and is no log"):
        Csv(path=str(file)).clean(tmp_path / "mine")
    with pytest.raises(UserError, match="expected another folder"):
        Csv(path=str(file)).clean(tmp_path)
    with pytest.raises(UserError, match="expected a place that can be"):
        Csv(path=str(file)).clean(file / "out")
    assert (tmp_path / "mine" / "thesis.txt").read_text() == "years"


def test_a_failed_run_leaves_the_older_log_whole(tmp_path: Path) -> None:
    """Why: a kill or a bad file at any moment leaves the old folder."""
    file = write_csv(tmp_path / "log.csv", GOOD)
    first = Csv(path=str(file)).clean(tmp_path / "out")
    write_csv(file, changed("price", "free"))
    with pytest.raises(UserError):
        Csv(path=str(file)).clean(tmp_path / "out")
    assert open_log(tmp_path / "out").meta == first.meta
    write_csv(file, GOOD + filler())
    assert Csv(path=str(file)).clean(tmp_path / "out").meta["sessions"] == 44
    assert {p.name for p in tmp_path.iterdir()} == {"log.csv", "out"}


def test_a_folder_that_is_no_log_cannot_be_opened(tmp_path: Path) -> None:
    """Why: the remedy is to clean first."""
    with pytest.raises(UserError, match=r"lacks meta\.json.*clean the log first"):
        open_log(tmp_path)
