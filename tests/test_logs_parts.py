"""recgym.logs.parts: a log that is cleaned by parts is the log that is cleaned whole."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

import pytest
import torch
from log_files import event, read_rows, write_csv, write_parquet
from tiny import FIT, call, compose

from recgym import fit
from recgym.cli import sentence
from recgym.errors import UserError
from recgym.logs.base import ReaderBase
from recgym.logs.csv import Csv
from recgym.logs.folder import Folder
from recgym.logs.log import Log
from recgym.logs.parts import clean_part
from recgym.logs.reader import Part
from recgym.stages.log import prepare_log, prepare_part

TABLES = ("events", "impressions", "sessions", "items", "shoppers", "set_aside")


def part_of(shopper: object, count: int) -> int:
    """By hand: the first eight hexadecimal digits of the id's MD5, modulo the number of parts."""
    return int(hashlib.md5(str(shopper).encode()).hexdigest()[:8], 16) % count


def clean_parts(reader: ReaderBase, folder: Path, count: int) -> list[Path]:
    folders = [folder / f"part-{number}" for number in range(count)]
    for number, place in enumerate(folders):
        clean_part(reader, place, Part(number, count))
    return folders


def assert_same(log: Log, whole: Log) -> None:
    """Each table, the card's figures, and every tensor that a fit reads."""
    assert {p.name for p in log.folder.iterdir()} == {p.name for p in whole.folder.iterdir()}
    for table in TABLES:
        files = [one.folder / f"{table}.parquet" for one in (log, whole)]
        if files[1].exists():
            assert read_rows(files[0]) == read_rows(files[1]), table
            kinds = [read_rows(f, "DISTINCT typeof(COLUMNS(*))")[:1] for f in files]
            assert kinds[0] == kinds[1], table
    assert log.meta == whole.meta
    for name, value in vars(log.sessions()).items():
        assert_equal(value, vars(whole.sessions())[name])
    assert_equal(log.catalog(), whole.catalog())
    assert torch.equal(log.seen_item(), whole.seen_item())


def assert_equal(one: Any, other: Any) -> None:
    if isinstance(one, torch.Tensor):
        assert torch.equal(one, other)
    elif hasattr(one, "__dict__"):
        for name, value in vars(one).items():
            assert_equal(value, vars(other)[name])
    else:
        assert one == other


# By their MD5 all but the last are in parts 0 and 1 of three, and the last alone is in part 2.
SHOPPERS = (100, 102, 103, 105, 107, 110, 112, 113, 114, 119, 120)
LAST = {"text": "x0", "numbers": 101}


def messy(last: object) -> list[dict[str, Any]]:
    """Shoppers of several sessions, with and without session ids, and rows of all kinds of harm.

    The times of most shoppers are in seconds, those of the last in milliseconds: a part that
    looked at its own rows alone would take these for the format of the log.
    """
    rows = []
    for i in range(160):
        shopper = (*SHOPPERS, last)[i % 12]
        row = event(shopper, f"s{i // 24}" if i % 12 < 9 else "", 500 * i,
                    ["view", "view", "cart", "purchase"][i // 12 % 4], ["A", "7", "007"][i % 3],
                    3 + i % 5, 1 + i % 2, category=None if i < 40 else f"c{i % 3}")  # fmt: skip
        rows.append(row)
        if shopper == last and i > 70:
            row["time"] *= 1000
    harm = [{"price": "free"}, {"event": "look"}, {"shopper": ""}, {"item": ""}, {"quantity": -1}]
    for i, change in enumerate(harm):
        rows[10 * i + 7] |= change
    return [*rows, rows[3], rows[50], rows[3], rows[77]]  # exact duplicates


def file_of(folder: Path, last: object) -> Path:
    """The messy log, with a line that is no row of any shopper."""
    file = write_csv(folder / "log.csv", messy(last))
    with file.open("a") as stream:
        stream.write("torn,line\n")
    return file


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The messy log whose ids are text, with its three parts beside it."""
    home = tmp_path_factory.mktemp("parts")
    clean_parts(Csv(path=str(file_of(home, "x0"))), home, 3)
    return home


def parts_in(home: Path) -> list[Path]:
    return [home / f"part-{number}" for number in range(3)]


def check_joined(home: Path, folders: list[Path], out: Path) -> Log:
    reader = Csv(path=str(home / "log.csv"), max_set_aside=0.05)
    log = reader.join(out / "joined", folders)
    assert_same(log, reader.clean(out / "whole"))
    account = log.meta["rows"]["events"]
    assert account["in"] == 165 and account["kept"] == 165 - 5 - 4 - 1 - 8
    assert account["set_aside"]["time in another format"] == 8
    return log


def test_parts_joined_are_the_log_cleaned_whole(home: Path, tmp_path: Path) -> None:
    # Why: who needs parts must not get another log, other splits or another fit by them. Only the
    # last part has an id that is no number, and all its times are in the rarer format.
    log = check_joined(home, parts_in(home), tmp_path)
    assert type(read_rows(log.folder / "shoppers.parquet", "shopper")[0][0]) is str


def test_ids_that_are_numbers_in_all_parts_stay_numbers(tmp_path: Path) -> None:
    # Why: they join faster, and a log by parts must not be told apart from the whole one.
    file = file_of(tmp_path, 101)
    folders = clean_parts(Csv(path=str(file)), tmp_path, 1)
    log = check_joined(tmp_path, folders, tmp_path)
    assert read_rows(log.folder / "shoppers.parquet", "shopper")[:2] == [(100,), (101,)]


def test_who_is_in_which_part_by_hand(home: Path) -> None:
    # Why: jobs on other machines, with other versions of DuckDB, must agree on it, or shoppers
    # would be lost or doubled. The MD5 of "100" begins with f899139d, 4170781597 = 3 n + 1.
    assert part_of(100, 3) == int("f899139d", 16) % 3 == 1 and part_of("x0", 3) == 2
    found: dict[int, object] = {}
    for number, folder in enumerate(parts_in(home)):
        rows = read_rows(folder / "events.parquet", "row, shopper")
        assert {part_of(shopper, 3) for _, shopper in rows} == {number}
        found |= {row: str(shopper) for row, shopper in rows}
    given = {i + 1: str(row["shopper"]) for i, row in enumerate(messy("x0"))}
    assert found == {row: given[row] for row in found} and len(found) == 164 - 5 - 4 - 8


def shop(folder: Path) -> Folder:
    """A folder with impressions, items and shoppers, all with rows to set aside; no session ids."""
    kinds = {"shopper": "BIGINT", "time": "BIGINT", "page": "BIGINT", "position": "BIGINT"}
    events, shown = [], []
    for i in range(24):
        who, start = SHOPPERS[i % 7], 3_000 * i + 40 * (i % 7)
        for k, item in enumerate("ABC"[i % 3 :] + "D"):
            row = event(who, None, start, "", item, 4 + k, page=i, position=k, sponsored=k == 1)
            shown.append(row)
        clicked = event(who, None, start + 9, "view", "D", 5, page=i, position=len("ABC"[i % 3 :]))
        events += [clicked] * (1 + (i == 20))
    shown.append({**shown[30], "position": 9})  # an item twice on the page
    folder.mkdir()
    shown_kinds = {**kinds, "item": "VARCHAR", "price": "DOUBLE", "sponsored": "BOOLEAN"}
    write_parquet(folder / "impressions.parquet", shown, shown_kinds)
    event_kinds = {**kinds, "item": "VARCHAR", "price": "DOUBLE", "event": "VARCHAR"}
    write_parquet(folder / "events.parquet", events, event_kinds)
    items = [{"item": item, "category": "ab"[i % 2], "cost": i} for i, item in enumerate("DBAB")]
    item_kinds = {"item": "VARCHAR", "category": "VARCHAR", "cost": "DOUBLE"}
    write_parquet(folder / "items.parquet", items, item_kinds)
    people = [{"shopper": who, "age": who % 9} for who in (110, 100, 103, 110)]
    write_parquet(folder / "shoppers.parquet", people, {"shopper": "BIGINT", "age": "BIGINT"})
    return Folder(path=str(folder), max_set_aside=0.3)


def test_pages_items_and_profiles_are_joined_too(tmp_path: Path) -> None:
    # Why: pages are numbered over all shoppers, the list of items is nobody's, and sessions
    # without ids are cut where a shopper rests.
    reader = shop(tmp_path / "shop")
    log = reader.join(tmp_path / "joined", clean_parts(reader, tmp_path, 2))
    assert_same(log, reader.clean(tmp_path / "whole"))
    aside = {name: rows["set_aside"] for name, rows in log.meta["rows"].items() if name in TABLES}
    assert aside == {
        "events": {"exact duplicate": 1}, "impressions": {"item twice on the page": 1},
        "items": {"item listed twice": 1}, "shoppers": {"shopper listed twice": 1},
    }  # fmt: skip
    assert log.sessions().page.item.shape[1] == 4 and log.meta["ads"] == 24


def test_a_share_of_all_rows_is_judged_where_the_parts_are_joined(
    home: Path, tmp_path: Path
) -> None:
    # Why: a part may hold more bad rows than its share; the sentence is the one of the whole log.
    reader = Csv(path=str(home / "log.csv"))
    said = []
    for make in (reader.clean, lambda folder: reader.join(folder, parts_in(home))):
        with pytest.raises(UserError) as caught:
            make(tmp_path / "out")
        said.append(str(caught.value))
    assert said[0] == said[1] and "8 of 165 rows" in said[1] and not (tmp_path / "out").exists()


def test_parts_of_two_divisions_are_not_joined(home: Path, tmp_path: Path) -> None:
    # Why: shoppers would be doubled or lost, and no number would say so.
    reader = Csv(path=str(home / "log.csv"))
    first, _, last = parts_in(home)
    with pytest.raises(UserError, match="parts 0 of 3, 2 of 3: expected each part of one log once"):
        reader.join(tmp_path / "joined", [first, last])
    with pytest.raises(UserError, match=r"c is no part of a log \(it lacks part\.json\)"):
        reader.join(tmp_path / "joined", [first, tmp_path / "c"])


@pytest.mark.parametrize(
    ("number", "count", "said"),
    [(2, 2, "log.part=2: expected a number below log.parts=2"), (0, 0, "log.parts=0: expected a"),
     (-1, 2, "log.part=-1: expected a whole number of at least 0"), ("x", 2, "log.part='x'")],
)  # fmt: skip
def test_parts_that_cannot_be_are_refused(number: Any, count: int, said: str) -> None:
    # Why: a part beyond the last would hold nobody, and no job would notice.
    with pytest.raises(UserError, match=said):
        Part(number, count)


def test_jobs_clean_a_part_each_and_any_run_joins_them(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    # Why: this is the command for a cluster. The joined log is kept under the key of the whole one,
    # so that a fit of either is the fit of both; a part that no job made is made by who needs it.
    file = write_csv(tmp_path / "log.csv", messy("x0"))
    asked = ["log=csv", f"log.path={file}", "log.max_set_aside=0.05", "log.parts=2"]
    cache = tmp_path / "cache"
    places = [f"cache_dir={cache}", f"hydra.sweep.dir={tmp_path / 'sweep'}"]
    call(fit.main, "-m", *FIT, *asked, "log.part=0", *places)
    assert len(list(cache.glob("part-*-of-2/part.json"))) == 1 and not list(cache.glob("log-*"))
    settings = compose("fit", *asked)["log"]
    log, _, reused = prepare_log({**settings, "session_gap_minutes": 20}, cache, {})
    said = capsys.readouterr().out
    # 100, 102, 107, 110, 119 and x0 have 14 + 14 + 4 * 13 rows, of which 3 + 8 are set aside
    assert "part 1 of 2: 69 events kept" in said and "part 0 of 2: reused" in said and not reused
    again, _, reused = prepare_log({**settings, "session_gap_minutes": 20, "parts": 1}, cache, {})
    assert reused and again.folder == log.folder and again.meta == log.meta
    prepare_part({**settings, "part": 1, "session_gap_minutes": 20}, cache)
    assert "holds the whole log already" in capsys.readouterr().out
    with pytest.raises(UserError, match=r"log.part=1 is for python -m recgym.fit -m"):
        prepare_log({**settings, "part": 1}, cache, {})


def test_a_true_shop_and_a_part_of_nothing_are_refused(tmp_path: Path) -> None:
    # Why: such a setting would have no effect, or cost an hour and serve nobody.
    shop, csv = compose("fit")["log"], compose("fit", "log=csv")["log"]
    with pytest.raises(UserError, match=r"log\.parts=2: the log 'true shop' is written by a true"):
        prepare_log({**shop, "parts": 2}, tmp_path, {})
    with pytest.raises(UserError, match=r"log\.part=0 is one of how many"):
        prepare_part({**csv, "part": 0}, tmp_path)


def test_a_job_of_the_queue_that_ends_early_is_one_sentence() -> None:
    # Why: submitit raises with pages of text; the job's own sentence is what a user can use.
    utils = pytest.importorskip("submitit.core.utils")
    text = "Job 7 (task: 0) with path p\nhas not produced any output (state: {})\n{}"
    said = text.format("META", "Error stream produced:\n----\nerror: log.part=7: expected less\n")
    assert sentence(utils.UncompletedJobError(said)) == (
        "a job of the queue failed: log.part=7: expected less"
    )
    said = sentence(utils.UncompletedJobError(text.format("OUT_OF_MEMORY", "No output")))
    assert said.endswith("has not produced any output (state: OUT_OF_MEMORY)")
