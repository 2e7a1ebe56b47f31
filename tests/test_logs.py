"""recgym.logs: a small log by hand, from its rows to sessions, catalogue and statistics."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from log_files import START_S, event, filler, read_rows, write_csv, write_parquet, write_text

from recgym.errors import UserError
from recgym.logs.csv import Csv
from recgym.logs.folder import Folder
from recgym.logs.log import SCHEMA_VERSION, Log, open_log
from recgym.logs.rees46 import Rees46
from recgym.logs.taobao import Taobao
from recgym.types import DAY_MS, After, Kind, Split

HAND_MADE = [
    event("a", "s", 0, "view", "A", 10),
    event("a", "s", 5, "view", "A", 10),  # immediate repeat: collapsed
    event("a", "s", 10, "cart", "A", 10, 2),  # after the view of A
    event("a", "s", 20, "view", "B", 5),
    event("a", "s", 30, "favourite", "B", 5),
    event("a", "s", 32, "remove", "A", 10),  # kept, not modelled
    event("a", "s", 35, "cart", "C", 4),  # implied view of C
    event("a", "s", 40, "purchase", "A", 9, 2),  # carted, not just viewed: checkout
    event("a", "s", 41, "purchase", "C", 4),  # the same checkout
    event("a", "s", 50, "purchase", "D", 7),  # never carted: implied view and buy
]
SHOWN = {
    "page": "BIGINT", "shopper": "VARCHAR", "session": "VARCHAR", "time": "BIGINT",
    "position": "BIGINT", "item": "VARCHAR", "price": "DOUBLE", "sponsored": "BOOLEAN",
}  # fmt: skip
EVENT = {
    "shopper": "VARCHAR", "session": "VARCHAR", "time": "BIGINT", "event": "VARCHAR",
    "item": "VARCHAR", "price": "DOUBLE", "quantity": "DOUBLE", "page": "BIGINT",
    "position": "BIGINT",
}  # fmt: skip


def clean_csv(tmp_path: Path, rows: list[dict[str, object]], **options: object) -> Log:
    file = write_csv(tmp_path / "log.csv", rows)
    return Csv(path=str(file), **options).clean(tmp_path / "out")  # type: ignore[arg-type]


def test_rows_become_the_steps_computed_by_hand(tmp_path: Path) -> None:
    """Why: every number downstream rests on this reading of rows."""
    log = clean_csv(tmp_path, HAND_MADE + filler())
    sessions = log.sessions()
    assert sessions.offset.tolist() == [0, 6, 8, 10, 12, 14]
    steps = sessions.event.lanes(torch.arange(6))
    assert steps.kind.tolist() == [Kind.VIEW] * 3 + [Kind.CHECKOUT, Kind.VIEW, Kind.LEAVE]
    assert steps.item.tolist() == [0, 1, 2, -1, 3, -1]
    assert steps.after.tolist() == [After.CART, After.FAVOURITE, After.CART, 0, After.BUY, 0]
    assert steps.price.tolist() == [10, 5, 4, 0, 7, 0]
    assert steps.quantity.tolist() == [2, 0, 1, 0, 1, 0]
    assert steps.gap.tolist() == [0, 20, 15, 5, 10, 0]
    assert steps.slot.tolist() == [-1] * 6
    assert sessions.time_ms[:6].tolist() == [(START_S + t) * 1000 for t in (0, 20, 35, 40, 50, 50)]
    assert sessions.page.item.shape == (14, 0)
    assert log.meta["conversion"] == {
        "implied_views": 2, "collapsed_repeats": 1, "checkout_steps": 1,
        "purchases_of_an_empty_cart": 0, "pages_without_choice_not_modelled": 0,
    }  # fmt: skip


def test_stats_are_the_sums_computed_by_hand(tmp_path: Path) -> None:
    """Why: conversion and revenue of the log are what a learned shop is checked against."""
    stats = clean_csv(tmp_path, HAND_MADE + filler()).stats(Split.TRAIN)
    assert stats.pages.tolist() == [6, 2, 2]
    assert stats.views.tolist() == [4, 1, 1]
    assert stats.carts.tolist() == [2, 0, 0]
    assert stats.orders.tolist() == [2, 0, 0]  # one checkout, one buy
    assert stats.revenue.tolist() == [9 * 2 + 4 + 7, 0, 0]
    assert torch.equal(stats.credited_revenue, stats.revenue)


def shown_log(tmp_path: Path, positions: str = "given") -> Log:
    """One session of four pages, one that only looks, and two more to split.

    Positions of events are ``given``, or their column is ``empty`` or ``absent``.
    """
    slot = (lambda k: k) if positions == "given" else (lambda k: None)
    events = [
        event("a", "s", 1, "view", "A", 10, page=1, position=slot(0)),
        event("a", "s", 2, "cart", "A", 10, page=1),
        event("a", "s", 12, "view", "D", 7, page=2),
        event("a", "s", 21, "purchase", "A", 9, page=3),
    ] + [event(f"f{i}", "g", 9000 * (i + 1), "view", "A", 10, page=i) for i in range(2)]
    shown = [(1, 0, "A", 10), (1, 1, "B", 5), (2, 1, "D", 6.5), (4, 2, "B", 5)]
    rows = [
        event("a", "s", 10 * (page - 1), "", item, price, page=page, position=position)
        for page, position, item, price in shown
    ]
    rows += [event("b", "s", 5000, "", "B", 5, page=1, position=0)]
    for row in (*events, *rows):
        row["time"] *= 1000
    folder = tmp_path / "shop"
    folder.mkdir()
    columns = {c: kind for c, kind in EVENT.items() if c != "position" or positions != "absent"}
    write_parquet(folder / "events.parquet", events, columns)
    write_parquet(folder / "impressions.parquet", rows, SHOWN)
    items = [{"item": i, "category": c} for i, c in zip("DCBA", "xyxy", strict=True)]
    write_parquet(folder / "items.parquet", items, {"item": "VARCHAR", "category": "VARCHAR"})
    people = [
        {"shopper": s, "age": n} for s, n in zip(["b", "a", "f0", "f1"], [1, 2, 2, 3], strict=True)
    ]
    write_parquet(folder / "shoppers.parquet", people, {"shopper": "VARCHAR", "age": "BIGINT"})
    return Folder(path=str(folder)).clean(tmp_path / "out")


def test_pages_join_steps_and_the_last_page_joins_leaving(tmp_path: Path) -> None:
    """Why: shown and ignored is information; a page on the wrong step teaches the wrong thing."""
    log = shown_log(tmp_path)
    sessions = log.sessions()
    a, b, c, d = 3, 2, 1, 0  # rows of items.parquet: the order of the file
    listed = read_rows(log.folder / "items.parquet", "item")
    assert [item for (item,) in listed] == ["D", "C", "B", "A"]
    assert sessions.event.kind[:4].tolist() == [Kind.VIEW, Kind.VIEW, Kind.CHECKOUT, Kind.LEAVE]
    assert sessions.page.item[:4].tolist() == [[a, b, -1], [-1, d, -1], [-1] * 3, [-1, -1, b]]
    assert sessions.page.price[:2].tolist() == [[10, 5, 0], [0, 6.5, 0]]
    assert sessions.event.slot[:4].tolist() == [0, -1, -1, -1]  # D: recorded as found alone
    assert c not in sessions.event.item.tolist()
    assert sessions.time_ms[3] == (START_S + 30) * 1000


def test_a_session_that_only_looked_is_a_session(tmp_path: Path) -> None:
    """Why: who leaves at the first page counts in every rate per session."""
    log = shown_log(tmp_path)
    stats = log.stats()
    assert stats.pages.tolist() == [4, 1, 2, 2]
    assert stats.impressions.tolist() == [4, 1, 0, 0]
    assert stats.clicks.tolist() == [1, 0, 0, 0]
    assert stats.shopper.tolist() == [1, 0, 2, 3]
    assert stats.revenue.tolist() == [9, 0, 0, 0]


def test_without_positions_the_slot_is_where_the_item_lies(tmp_path: Path) -> None:
    """Why: many logs name the page but not the slot."""
    log = shown_log(tmp_path, positions="absent")
    assert log.sessions().event.slot[:3].tolist() == [0, 1, -1]
    assert "clicks on pages" not in log.meta["missing"]


def test_positions_that_are_recorded_and_never_given_say_that_nothing_was_clicked(
    tmp_path: Path,
) -> None:
    """Why: an item found alone that happens to lie on the page is no click, in a shop whose
    shoppers ignore pages: read as clicks, a fit finds lifts where there are none."""
    log = shown_log(tmp_path, positions="empty")
    assert log.sessions().event.slot.tolist() == [-1] * len(log.sessions().event.slot)
    assert "log.columns.position=null" in log.meta["missing"]["clicks on pages"]


def test_profiles_keep_their_numbers(tmp_path: Path) -> None:
    """Why: scaled by one log's spread, they would mean something else in any other shop."""
    profile = shown_log(tmp_path).sessions().profile
    assert profile.squeeze(1).tolist() == [2, 1, 2, 3]


def test_seen_items_are_those_of_training(tmp_path: Path) -> None:
    """Why: an item first met in the test period has no fitted embedding."""
    log = shown_log(tmp_path)  # train: sessions of a and b, with A, B, D
    assert log.seen_item().tolist() == [True, False, True, True]


def test_a_rest_longer_than_the_gap_ends_a_session(tmp_path: Path) -> None:
    """Why: exactly 30 minutes still belong together; 30 minutes and 1 second do not."""
    rows = [event("a", None, t, "view", i) for t, i in [(0, "A"), (1800, "B"), (3601, "A")]]
    rows += [event("b", None, t, "view", "A") for t in (7000, 9000)]
    log = clean_csv(tmp_path, rows)
    assert log.sessions().offset.tolist() == [0, 3, 5, 7, 9]
    wider = Csv(path=str(tmp_path / "log.csv"), session_gap_minutes=31).clean(tmp_path / "wide")
    assert wider.meta["sessions"] == 3


def test_session_ids_hold_where_given(tmp_path: Path) -> None:
    """Why: a shop knows its sessions better than a clock does; ids may repeat between shoppers."""
    rows = [event("a", "x", t, "view", i) for t, i in [(0, "A"), (90_000, "B")]]
    rows += [event("b", "x", 10, "view", "A"), event("b", None, 20, "view", "B")]
    assert clean_csv(tmp_path, rows).sessions().offset.tolist() == [0, 3, 5, 7]


def test_splits_follow_time_and_new_shoppers_stand_apart(tmp_path: Path) -> None:
    """Why: training on the future would flatter every model."""
    rows = [event(f"u{i % 7}", f"s{i}", 1000 * i, "view", "AB"[i % 2]) for i in range(19)]
    rows += [event("new", "s", 1000 * 19, "view", "A")]
    log = clean_csv(tmp_path, rows, valid_share=0.2, test_share=0.1)
    split = log.sessions().split.tolist()
    assert split == [Split.TRAIN] * 14 + [Split.VALID] * 4 + [Split.TEST, Split.TEST_NEW]
    assert len(log.stats(Split.TEST, Split.TEST_NEW).shopper) == 2
    assert log.meta["splits"] == {"train": 14, "valid": 4, "test": 1, "test_new": 1}


def test_catalogue_prices_fill_over_days(tmp_path: Path) -> None:
    """Why: a price is in force on the days between two sightings."""
    day = DAY_MS // 1000
    rows = [
        event("a", "1", 0, "view", "A", 10),
        event("a", "1", 1, "view", "B"),  # price never seen: the overall median
        event("b", "2", 2 * day, "view", "A", 12),
        event("b", "3", 2 * day + 5000, "view", "A", 14),
        event("b", "4", 3 * day, "view", "C", 0, category="toys", brand="z"),
    ]
    log = clean_csv(tmp_path, rows)
    catalog = log.catalog()
    assert catalog.price[:, 0].tolist() == [10, 10, 13, 13]
    assert catalog.price[:, 1].tolist() == [11.5] * 4
    assert catalog.priced and catalog.start_ms == (START_S // day) * DAY_MS
    assert catalog.category.tolist() == [0, 0, 1] and catalog.num_categories == 2
    assert catalog.feature.shape == (3, 2) and catalog.feature[:, 1].tolist() == [0, 0, 1]
    assert log.sessions().event.price[:3].tolist() == [10, 11.5, 0]
    assert log.meta["rows"]["prices_of_0_taken_as_unknown"] == 1


def test_a_log_without_prices_says_that_money_is_undefined(tmp_path: Path) -> None:
    """Why: nobody may read revenue off a log that has none."""
    log = clean_csv(tmp_path, [r | {"price": None} for r in HAND_MADE + filler()])
    assert not log.catalog().priced and (log.catalog().price == 1).all()
    assert "money is undefined" in log.card() and "not identified" in log.card()


def test_card_names_what_was_set_aside(tmp_path: Path) -> None:
    """Why: nothing is dropped silently."""
    log = clean_csv(tmp_path, HAND_MADE + HAND_MADE[:1] + filler(), max_set_aside=0.1)
    assert "exact duplicate 1" in log.card()
    aside = read_rows(log.folder / "set_aside.parquet", "input, row, reason, item")
    assert aside == [("events", 11, "exact duplicate", "A")]


def test_an_opened_log_is_the_cleaned_one(tmp_path: Path) -> None:
    """Why: runs reuse a cleaned folder for months."""
    log = clean_csv(tmp_path, HAND_MADE + filler())
    again = open_log(tmp_path / "out")
    assert torch.equal(again.sessions().event.item, log.sessions().event.item)
    assert again.meta["schema_version"] == SCHEMA_VERSION
    assert again.meta["content_hash"] == Csv(path=str(tmp_path / "log.csv")).content_hash()


def test_a_cleaned_log_is_itself_a_log(tmp_path: Path) -> None:
    """Why: the format that is written is the format that is read."""
    log = shown_log(tmp_path)
    again = Folder(path=str(log.folder)).clean(tmp_path / "again")
    for name in ("kind", "item", "slot", "after", "price", "gap"):
        assert torch.equal(
            getattr(again.sessions().event, name), getattr(log.sessions().event, name)
        ), name
    assert torch.equal(again.sessions().page.item, log.sessions().page.item)


def test_other_schema_is_refused(tmp_path: Path) -> None:
    """Why: reading an old folder with new meaning gives wrong numbers, not an error."""
    log = clean_csv(tmp_path, HAND_MADE + filler())
    (log.folder / "meta.json").write_text(json.dumps(log.meta | {"schema_version": 0}))
    with pytest.raises(UserError, match="schema_version 0: expected 1; clean the log again"):
        open_log(log.folder)


@pytest.mark.parametrize("name", ["log.csv", "log.csv.gz", "log.parquet"])
def test_csv_maps_columns_and_events(tmp_path: Path, name: str) -> None:
    """Why: no two shops name their columns alike."""
    rows = [
        {"uid": i // 2, "ts": 1000 * (START_S + 4000 * i), "what": "Page View", "sku": i % 3}
        for i in range(8)
    ] + [{"uid": 1, "ts": 1000 * START_S, "what": "purchase", "sku": 2}]
    types = {"uid": "BIGINT", "ts": "BIGINT", "what": "VARCHAR", "sku": "DOUBLE"}
    file = tmp_path / name
    write_parquet(file, rows, types) if "parquet" in name else write_csv(file, rows)
    columns = {"shopper": "uid", "time": "ts", "event": "what", "item": "sku"}
    log = Csv(path=str(file), columns=columns, events={"page_view": "view"}).clean(tmp_path / "out")
    assert log.meta["events"] == {"view": 8, "purchase": 1}
    assert read_rows(log.folder / "items.parquet", "item") == [(0,), (1,), (2,)]


@pytest.mark.parametrize("gz", ["", ".gz"])
def test_rees46_layout(tmp_path: Path, gz: str) -> None:
    """Why: the published files must be read as they come, a folder of months included."""
    head = (
        "event_time,event_type,product_id,category_id,category_code,brand,price,user_id,"
        "user_session\n"
    )
    line = "2019-1{m}-0{d} 00:00:0{d} UTC,{e},{p},9{p},{c},,{x},{u},s{u}-{m}-{d}\n"
    october = head + "".join(
        line.format(m=0, d=d, e=e, p=p, c=c, x=x, u=u)
        for d, e, p, c, x, u in [
            (1, "view", 5, "home.lamp", 35.5, 1), (2, "cart", 5, "home.lamp", 35.5, 1),
            (3, "purchase", 6, "", 20.0, 2), (4, "remove_from_cart", 5, "home.lamp", 0.0, 2),
        ]
    )  # fmt: skip
    november = head + line.format(m=1, d=1, e="view", p=5, c="home.lamp", x=33.0, u=1)
    write_text(tmp_path / f"2019-Oct.csv{gz}", october)
    write_text(tmp_path / f"2019-Nov.csv{gz}", november)
    log = Rees46(path=str(tmp_path)).clean(tmp_path / "out")
    assert log.meta["events"] == {"view": 2, "cart": 1, "purchase": 1, "remove": 1}
    assert log.meta["sessions"] == 5
    items = read_rows(log.folder / "items.parquet", "item, category")
    assert items == [(5, "home.lamp"), (6, "96")]
    assert log.stats().revenue.sum() == 20
    assert "price elasticity" not in log.card()  # item 5 was met at two prices


@pytest.mark.parametrize("gz", ["", ".gz"])
def test_taobao_layout(tmp_path: Path, gz: str) -> None:
    """Why: no header, own words, and a few stray dates that must not stretch the log to years."""
    first = 1_511_544_070  # 2017-11-24 17:21:10 UTC
    rows = [(u, 7 + u % 2, 3, "pv", first + 5000 * u) for u in range(60)]
    rows += [(0, 7, 3, "fav", first + 1), (0, 7, 3, "cart", first + 2), (0, 7, 3, "buy", first + 9)]
    rows += [(0, 8, 3, "pv", 1_000_000_000)]  # 2001
    text = "".join(",".join(map(str, row)) + "\n" for row in rows)
    file = write_text(tmp_path / f"UserBehavior.csv{gz}", text)
    log = Taobao(path=str(file)).clean(tmp_path / "out")
    assert log.meta["rows"]["events"]["set_aside"] == {"impossible time": 1}
    assert log.meta["events"] == {"view": 60, "cart": 1, "favourite": 1, "purchase": 1}
    assert log.sessions().event.after[0] == After.BUY and not log.catalog().priced
    assert log.meta["first_day"] == "2017-11-24"
