"""experiments.publishing.layouts: small files as three of the logs are published, read by hand."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import duckdb
from log_files import write_text

from experiments.publishing.layouts import files_of, read


def raw(name: str, folder: Path) -> tuple[list[Any], dict[str, int]]:
    with duckdb.connect() as db:
        db.execute("SET TimeZone = 'UTC'")
        rows = read(db, name, [file for file in files_of(name, folder).values() if file])
        query = "SELECT owner, item, time_ms, viewed, place FROM raw ORDER BY row"
        return db.execute(query).fetchall(), rows


def test_diginetica_counts_from_the_first_day_of_a_session(tmp_path: Path) -> None:
    # Why: by hand. 2016-05-09 is 1,462,752,000 s; a session past midnight counts on from its day.
    write_text(
        tmp_path / "train-item-views.csv",
        "sessionId;userId;itemId;timeframe;eventdate\n1;NA;81766;526309;2016-05-09\n"
        "1;NA;31331;86400001;2016-05-10\n2;7;32118;5;2016-05-10\nnothing;;;;\n",
    )
    day = 1_462_752_000_000
    rows, counts = raw("diginetica", tmp_path)
    assert rows == [
        ("1", 81766, day + 526_309, True, 81766),
        ("1", 31331, day + 86_400_001, True, 31331),
        ("2", 32118, day + 86_400_005, True, 32118),
    ]
    assert counts == {"rows": 3, "rows_not_read": 1}


def test_yoochoose_joins_clicks_and_test_in_whole_seconds(tmp_path: Path) -> None:
    # Why: by hand. 2014-04-07 10:51:09 is 1,396,867,869 s; the published figures are of both files.
    write_text(tmp_path / "yoochoose-clicks.dat.gz", "1,2014-04-07T10:51:09.277Z,214536502,0\n")
    write_text(tmp_path / "yoochoose-test.dat", "5,2014-04-07T10:51:10.000Z,214536500,S\n")
    rows, _ = raw("yoochoose", tmp_path)
    assert rows == [
        ("1", 214536502, 1_396_867_869_000, True, 214536502),
        ("5", 214536500, 1_396_867_870_000, True, 214536500),
    ]


def test_rees46_reads_months_in_their_order(tmp_path: Path) -> None:
    # Why: by name November comes before October; items of one second go as they were first met.
    header = "event_time,event_type,product_id,category_id,category_code,brand,price,user_id,"
    row = "{} 00:00:01 UTC,{},{},1,,,9.9,{},s\n"
    write_text(
        tmp_path / "2019-Nov.csv",
        f"{header}user_session\n" + row.format("2019-11-01", "purchase", 9, 7),
    )
    write_text(
        tmp_path / "2019-Oct.csv",
        f"{header}user_session\n"
        + row.format("2019-10-01", "view", 9, 7)
        + row.format("2019-10-01", "view", 4, 7),
    )
    rows, _ = raw("rees46", tmp_path)
    first, second = 1_569_888_001_000, 1_572_566_401_000
    assert rows == [
        ("7", 9, first, True, 1), ("7", 4, first, True, 2), ("7", 9, second, False, 1)
    ]  # fmt: skip
