"""recgym.logs.steps and cleaning as properties: against a plain loop, and by counting rows."""

from __future__ import annotations

import tempfile
from itertools import groupby
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from log_files import START_S, read_rows, write_csv

from recgym.errors import UserError
from recgym.logs.csv import Csv
from recgym.logs.steps import CART, PURCHASE, VIEW, Rows, Shown, rows_to_steps
from recgym.types import After, Kind

NOTHING_SHOWN = Shown(
    np.zeros((0, 0), dtype=np.int64), np.zeros((0, 0)), *[np.zeros(0, dtype=np.int64)] * 2
)
Row = tuple[int, int, int, int]  # session, event, item, page


def make_rows(rows: list[Row]) -> Rows:
    session, event, item, page = np.array(rows, dtype=np.int64).reshape(-1, 4).T
    size = len(rows)
    return Rows(
        session=session,
        time_ms=1000 * np.arange(size),
        event=event,
        item=item,
        page=page,
        position=np.full(size, -1),
        price=np.arange(size) + 1.0,
        quantity=np.ones(size),
    )


def plain_session(rows: list[tuple[int, Row]]) -> list[list[float]]:
    """The rules as a loop over one session: [kind, item, after, paid] of each step."""

    def same_page(a: int, b: int) -> bool:
        return a == b or a < 0 or b < 0

    carted: set[int] = set()
    current: tuple[int, int] | None = None
    marks = []
    for _, (_, event, item, page) in rows:
        known = event == PURCHASE and item in carted
        here = current is not None and current[0] == item and same_page(current[1], page)
        marks.append([known and not here, known, here])
        current = current if known else (item, page)
        carted |= {item} if event == CART else set()
    for purchase, run in groupby(range(len(rows)), key=lambda i: rows[i][1][1] == PURCHASE):
        members = list(run)
        if purchase and any(marks[i][0] for i in members):
            for i in members:
                if marks[i][1] and rows[i][1][3] < 0:
                    marks[i][0] = True
    steps: list[list[float]] = []
    bought: list[list[tuple[int, float]]] = []
    at = -1  # the step of the current item
    for i, (number, (_, event, item, page)) in enumerate(rows):
        before = rows[i - 1][1] if i else None
        if marks[i][0]:
            if not (before and marks[i - 1][0] and before[3] == page):
                steps.append([Kind.CHECKOUT, -1, 0, 0])
                bought.append([])
            steps[-1][3] += number + 1
            bought[-1].append((item, number + 1))
            continue
        repeat = before and before[1:3] == (VIEW, item) and same_page(before[3], page)
        if (event == VIEW and not repeat) or (event != VIEW and not marks[i][2]):
            steps.append([Kind.VIEW, item, 0, 0])
            bought.append([])
            at = len(steps) - 1
        steps[at][2] = max(steps[at][2], event)
        steps[at][3] += number + 1 if event == PURCHASE else 0
    return without_empty_carts(steps, bought)


def without_empty_carts(
    steps: list[list[float]], bought: list[list[tuple[int, float]]]
) -> list[list[float]]:
    carts, found = 0, []
    for step, paid in zip(steps, bought, strict=True):
        carts += step[2] == After.CART
        if step[0] == Kind.CHECKOUT and carts == 0:
            for item, same in groupby(paid, key=lambda pair: pair[0]):
                found.append([Kind.VIEW, item, After.BUY, sum(price for _, price in same)])
        else:
            found.append(step)
        carts = 0 if step[0] == Kind.CHECKOUT else carts
    return [*found, [Kind.LEAVE, -1, 0, 0]]


@settings(max_examples=400, deadline=None)
@given(
    st.lists(
        st.tuples(st.integers(0, 2), st.integers(0, 3), st.integers(0, 2), st.integers(-1, 1)),
        max_size=25,
    ).map(lambda rows: sorted(rows, key=lambda row: row[0])),
    st.booleans(),
)
def test_arrays_and_plain_loop_agree(rows: list[Row], paged: bool) -> None:
    """Why: the fast path has no loop, so it is held against one that anybody can read."""
    rows = [row if paged else (*row[:3], -1) for row in rows]
    steps = rows_to_steps(make_rows(rows), 3, NOTHING_SHOWN)
    found = np.stack([steps.kind, steps.item, steps.after, steps.paid], axis=1)
    numbered = list(enumerate(rows))
    for session in range(3):
        mine = [pair for pair in numbered if pair[1][0] == session]
        assert found[steps.session == session].tolist() == plain_session(mine)
    assert (np.diff(steps.session) >= 0).all()


@pytest.mark.parametrize(
    ("rows", "kinds"),
    [
        # viewed and bought on one page, of a carted item: a buy, not a checkout
        ([(0, VIEW, 1, 0), (0, CART, 1, 0), (0, PURCHASE, 1, 0)], [Kind.VIEW]),
        # bought on another page than it was viewed on: a checkout
        ([(0, VIEW, 1, 0), (0, CART, 1, 0), (0, PURCHASE, 1, 1)], [Kind.VIEW, Kind.CHECKOUT]),
        # the cart went into the buy, so the second purchase finds an empty cart
        (
            [(0, event, item, -1) for event, item in [(0, 1), (2, 1), (3, 1), (0, 2), (3, 1)]],
            [Kind.VIEW] * 3,
        ),
        # two checkout pages are two checkouts, but the cart was paid at the first
        (
            [(0, CART, 1, 0), (0, CART, 2, 1), (0, PURCHASE, 1, 2), (0, PURCHASE, 2, 3)],
            [Kind.VIEW, Kind.VIEW, Kind.CHECKOUT, Kind.VIEW],
        ),
    ],
)
def test_checkouts(rows: list[Row], kinds: list[Kind]) -> None:
    """Why: an order counted twice, or a checkout of an empty cart, cannot be fitted."""
    steps = rows_to_steps(make_rows(rows), 1, NOTHING_SHOWN)
    assert steps.kind.tolist() == [*kinds, Kind.LEAVE]


TIMES = st.one_of(
    st.integers(START_S, START_S + 10**6).map(str),
    st.sampled_from(["", "soon", "-5", "1e300", "nan", "2020-09-14 10:00:00", str(START_S * 1000)]),
)
MESSY = st.fixed_dictionaries(
    {
        "shopper": st.sampled_from(["a", "b", "c", "d", "", ' "q"']),
        "session": st.sampled_from(["", "", "s", "t"]),
        "time": TIMES,
        "event": st.sampled_from(["view", "View", "cart", "purchase", "remove", "click", ""]),
        "item": st.sampled_from(["1", "2", "03", "x,y", "", "é"]),
        "price": st.sampled_from(["1.5", "0", "-2", "free", "", "inf", "nan", "3"]),
        "quantity": st.sampled_from(["", "1", "2.5", "0", "-1", "two"]),
        "page": st.sampled_from(["", "p", "q"]),
        "position": st.sampled_from(["", "0", "1.5", "-1", "900", "first"]),
    }
)


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.lists(MESSY, min_size=8, max_size=60))
def test_every_row_is_kept_or_set_aside(rows: list[dict[str, str]]) -> None:
    """Why: nothing is dropped silently, whatever a log holds."""
    with tempfile.TemporaryDirectory() as folder:
        file = write_csv(Path(folder) / "log.csv", rows)
        out = Path(folder) / "out"
        try:
            log = Csv(path=str(file), max_set_aside=1).clean(out)
        except UserError as error:  # nothing usable is left, said in a sentence
            assert str(file) in str(error)
            assert not out.exists()
            return
        account = log.meta["rows"]["events"]
        assert account["in"] == len(rows)
        assert account["in"] == account["kept"] + sum(account["set_aside"].values())
        numbers = read_rows(out / "events.parquet", "row")
        numbers += read_rows(out / "set_aside.parquet", "row")
        assert sorted(n for (n,) in numbers) == list(range(1, len(rows) + 1))
        assert np.isfinite(log.sessions().event.price.numpy()).all()
        assert int(log.sessions().offset[-1]) == len(log.sessions().event.kind)
