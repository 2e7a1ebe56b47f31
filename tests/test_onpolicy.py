"""recgym.onpolicy: the check finds a learned shop alike where it is, and tells where it is not."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest
import torch
from log_files import event, write_csv
from probe_shop import learned_shop

from agents.baselines import Popular
from recgym.logs.csv import Csv
from recgym.onpolicy import (
    CHECKED,
    Reference,
    on_policy_report,
    play,
    reference_of_held_out,
)
from recgym.report import on_policy_lines
from recgym.types import Split

MODEL = learned_shop()
POLICY = Popular(torch.arange(40), num_slots=3)


def test_a_shop_against_itself_has_no_error() -> None:
    # Why: the same shoppers under the same policy: whatever remains would be a fault of the check.
    reference = Reference(play(MODEL, POLICY, 3, 200, 7), "true shop", {})
    report = on_policy_report(MODEL, POLICY, 3, reference, 200, 7)
    for name in CHECKED:
        assert report[name]["error"] == 0.0, name
        assert report[name]["simulated"] == report[name]["reference"]
    assert report["reference"] == "true shop" and report["sessions"] == 200


def test_errors_are_relative_by_hand() -> None:
    # Why: a reference of twice the length means an error of 1/2 - 1.
    stats = play(MODEL, POLICY, 3, 200, 7)
    twice = dataclasses.replace(stats, views=2 * stats.views)
    report = on_policy_report(MODEL, POLICY, 3, Reference(twice, "true shop", {}), 200, 7)
    assert report["session_length"]["error"] == pytest.approx(-0.5)
    assert "-50.0%" in next(x for x in on_policy_lines(report) if "session_length" in x)


def test_without_pages_nobody_clicks_and_the_rest_is_compared() -> None:
    # Why: most public logs say nothing of what was shown; their click-through rate is unknown.
    stats = play(MODEL, Popular(torch.arange(40), num_slots=0), 0, 100, 7)
    report = on_policy_report(MODEL, None, 0, Reference(stats, "held-out log", {}), 100, 7)
    assert report["click_through_rate"]["error"] is None
    assert report["session_length"]["error"] == 0.0


def test_money_is_unknown_where_there_are_no_prices() -> None:
    # Why: a price of 1 each would pass for revenue.
    catalog = MODEL.catalog
    MODEL.catalog = dataclasses.replace(catalog, priced=False)
    try:
        stats = play(MODEL, POLICY, 3, 50, 7)
        report = on_policy_report(MODEL, POLICY, 3, Reference(stats, "held-out log", {}), 50, 7)
    finally:
        MODEL.catalog = catalog
    assert report["revenue_per_session"]["error"] is None
    assert report["conversion_rate"]["error"] == 0.0


def test_the_held_out_log_has_a_noise_floor(tmp_path: Path) -> None:
    # Why: an error below the log's error against itself says nothing. Sessions of 1 or 3 views in
    # turn: mean 2, sd 1; halves of some 40 differ by sqrt(2/40) of a view at one sd, 11 % of 2, so
    # 95 % of them by less than twice that.
    rows = []
    for number in range(400):
        for view in range(1 + 2 * (number % 2)):
            seconds = 3600 * number + view
            rows.append(event(f"u{number}", f"s{number}", seconds, "view", "AB"[view % 2], 10))
    log = Csv(path=str(write_csv(tmp_path / "log.csv", rows)), test_share=0.2).clean(tmp_path / "o")
    reference = reference_of_held_out(log, 0)
    # the last of the 80 may have been cut off
    assert len(log.stats(Split.TEST, Split.TEST_NEW).views) == 80
    assert len(reference.stats.views) == 79 and reference.num_cut == 1
    floor = reference.floor["session_length"]
    assert floor is not None and 0.1 < floor < 0.4
    assert reference.floor["conversion_rate"] is None  # no order at all


def test_sessions_that_the_end_of_the_log_may_have_cut_off_are_left_out(tmp_path: Path) -> None:
    # Why: a log that stops at noon holds the first minutes of its last sessions, and whole sessions
    # beside those would look too long. The log ends with the last of 100 sessions that begin 10
    # minutes apart: with a gap of 30 minutes that one and the three before it may have gone on.
    rows = [
        event(f"u{number}", f"s{number}", 600 * number, "view", "AB"[number % 2], 10)
        for number in range(100)
    ]
    path = str(write_csv(tmp_path / "log.csv", rows))
    log = Csv(path=path, test_share=0.2).clean(tmp_path / "o")
    row_B, num_cut = log.held_out()
    assert row_B.tolist() == list(range(80, 96)) and num_cut == 4
    reference = reference_of_held_out(log, 0)
    assert len(reference.stats.views) == 16
    report = on_policy_report(MODEL, POLICY, 3, reference, 50, 7)
    assert report["sessions_cut"] == 4
    assert "4 held-out sessions" in on_policy_lines(report)[-1]


def test_a_log_that_ends_in_its_held_out_sessions_is_compared_with_nothing(tmp_path: Path) -> None:
    # Why: better no figure than one of cut sessions beside whole ones.
    rows = [event(f"u{i}", f"s{i}", i, "view", "AB"[i % 2], 10) for i in range(100)]
    log = Csv(path=str(write_csv(tmp_path / "log.csv", rows))).clean(tmp_path / "o")
    reference = reference_of_held_out(log, 0)
    assert len(reference.stats.views) == 0 and reference.num_cut > 0
    report = on_policy_report(MODEL, POLICY, 3, reference, 50, 7)
    assert all(report[name]["error"] is None for name in CHECKED)
