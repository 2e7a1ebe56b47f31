"""recgym.record: what was simulated is what a fit reads back, through files and cleaning."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
import torch
from log_files import read_rows

from recgym.logs.log import Log
from recgym.record import MAX_PAGES, TrueShopLog, shoppers_of
from recgym.rollout import rollout
from recgym.simulator import SimState, Simulator
from recgym.spaces import ObservationSpec
from recgym.types import Kind, Observation, Outcome

SESSIONS, SLOTS = 150, 4
WORLD: dict[str, Any] = {"_target_": "recgym.worlds.taste.TasteShop", "num_items": 25}
Step = tuple[int, int, int, int, list[int]]  # kind, item, slot, after, page


def reader(**changed: Any) -> TrueShopLog:
    return TrueShopLog(world=WORLD, num_sessions=SESSIONS, num_slots=SLOTS, seed=5, **changed)


@pytest.fixture(scope="module")
def log(tmp_path_factory: pytest.TempPathFactory) -> Log:
    return reader().clean(tmp_path_factory.mktemp("record") / "log")


def simulated() -> list[list[Step]]:
    """Steps of each session as the simulator made them, in the order of their first page."""
    shop = reader().true_shop()
    simulator = Simulator(shop, num_slots=SLOTS, expected_revenue=False)
    steps: dict[int, list[Step]] = {row: [] for row in range(SESSIONS)}
    start: dict[int, int] = {}

    def on_step(index_N: Any, state: SimState, _: Observation, outcome: Outcome) -> None:
        event, page = outcome.event, outcome.page.item.tolist()
        for lane, row in enumerate(index_N.tolist()):
            start.setdefault(row, int(state.arrival.start_ms[lane]))
            kind, item = int(event.kind[lane]), int(event.item[lane])
            after, slot = int(event.after[lane]), int(event.slot[lane])
            steps[row].append((kind, item, slot, after, page[lane]))

    rollout(
        ObservationSpec(simulator, "history"),
        reader().logging_policy(shop),
        *shoppers_of(SESSIONS, 5, 2.5),
        max_pages=MAX_PAGES,
        on_step=on_step,
    )
    return [steps[row] for row in sorted(steps, key=lambda row: start[row])]


def read_back(log: Log) -> list[list[Step]]:
    sessions = log.sessions()
    # rows of the catalogue back to the shop's own numbers
    rows = log.db.execute("SELECT code, item FROM items").fetchall()
    theirs = {-1: -1, **{int(code): int(item) for code, item in rows}}
    event, page = sessions.event, sessions.page.item.tolist()
    found: list[list[Step]] = []
    for first, last in pairwise(sessions.offset.tolist()):
        found.append(
            [
                (
                    int(event.kind[s]),
                    theirs[int(event.item[s])],
                    int(event.slot[s]),
                    int(event.after[s]),
                    [theirs[item] for item in page[s]],
                )
                for s in range(first, last)
            ]
        )
    return found


def test_a_log_holds_exactly_what_was_simulated(log: Log) -> None:
    # Why: the fit learns from what is read back; any drift here is a bias that no check would find.
    expected, found = simulated(), read_back(log)
    kinds = [step[0] for steps in expected for step in steps]
    assert kinds.count(Kind.CHECKOUT) > 3 and kinds.count(Kind.LEAVE) > 100
    assert len(found) == len(expected) == SESSIONS
    wrong = [row for row in range(SESSIONS) if found[row] != expected[row]]
    assert not wrong, (found[wrong[0]], expected[wrong[0]])


def test_every_row_written_is_kept(log: Log) -> None:
    # Why: a true shop writes no dirt; a row set aside would be a step that never comes back.
    for table in ("events", "impressions", "items", "shoppers"):
        rows = log.meta["rows"][table]
        assert rows["in"] == rows["kept"] > 0 and not rows["set_aside"]
    assert log.meta["conversion"]["implied_views"] == 0


def test_propensities_are_probabilities(log: Log) -> None:
    # Why: off-policy estimates divide by them; by hand, 5 % uniform over 25 items bounds them.
    rows = read_rows(log.folder / "impressions.parquet", "propensity, position")
    assert len(rows) > 1000 and all(0.0 < chance <= 1.0 for chance, _ in rows)
    assert min(chance for chance, position in rows if position == 0) >= 0.05 / 25


def test_steps_hold_the_propensities_of_their_own_pages(log: Log) -> None:
    # Why: agents that learn from a log weigh a page's items by them. Each slot of each step has
    # that of its row of impressions, and an empty slot has none.
    columns = "page, position, propensity"
    rows = {row[:2]: row[2] for row in read_rows(log.folder / "impressions.parquet", columns)}
    chance, item = log.propensities(), log.sessions().page.item
    assert chance is not None and torch.equal(chance.isnan(), item < 0)
    step, slot = (item >= 0).nonzero(as_tuple=True)
    expected = [rows[int(log.steps.page[s]), k] for s, k in zip(step, slot.tolist(), strict=True)]
    assert len(expected) > 1000 and len(set(expected)) > 100
    assert torch.allclose(chance[step, slot], torch.tensor(expected).float())


def test_a_bare_click_log_holds_the_same_sessions(log: Log, tmp_path: Path) -> None:
    # Why: what a fit loses without impressions can be measured only on the same shoppers.
    bare = reader(impressions=False).clean(tmp_path / "bare")
    assert bare.sessions().page.item.shape[1] == 0 and bare.propensities() is None
    assert not (tmp_path / "bare" / "impressions.parquet").exists()
    assert bool((bare.sessions().event.slot == -1).all())
    # repeats of a view are collapsed where pages do not tell them apart, so rows are compared
    columns = "shopper, session, time, event, item, price, quantity"
    rows = [read_rows(folder / "events.parquet", columns) for folder in (bare.folder, log.folder)]
    assert rows[0] == rows[1] and len(rows[0]) > 500


def test_nothing_raw_is_left_behind(log: Log) -> None:
    # Why: raw files would double the cache.
    assert [path.name for path in log.folder.parent.iterdir()] == ["log"]


def test_the_card_of_a_log_is_a_function_of_its_settings(log: Log, tmp_path: Path) -> None:
    # Why: the summary repeats it, and two runs with one seed must give one summary.
    again = reader().clean(tmp_path / "other")
    assert again.meta == log.meta


def test_shoppers_come_back_as_often_as_asked() -> None:
    # Why: by hand, sessions of a shopper are numbered 0, 1, 2 ... and 2.5 on average.
    seed_B, session_B = shoppers_of(50_000, 3, 2.5)
    assert int(seed_B[0]) == 3 << 32 and int(session_B[0]) == 0
    assert len(seed_B) / len(seed_B.unique()) == pytest.approx(2.5, rel=0.02)
    starts = (session_B == 0).sum()
    assert int(starts) == len(seed_B.unique())
    assert len(torch.stack([seed_B, session_B]).unique(dim=1)[0]) == 50_000
