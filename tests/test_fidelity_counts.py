"""recgym.fidelity: what is counted, and each statistic, by hand."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from traces import catalog_of, checkout, frame_of, trace_of, view

from recgym.fidelity import counts, rows
from recgym.fidelity.calibration import BINS, bin_error, forecasts_of
from recgym.fidelity.counts import blocks_of, event_types, lags, table
from recgym.fidelity.discriminators import auc
from recgym.fidelity.features import session_features
from recgym.fidelity.frame import make_frame, purchase_lines
from recgym.fidelity.trace import Trace
from recgym.types import After

# two sessions: one carts 1 (10) and 2 (30), pays 40, returns to 1; one buys 3 (20) at once
SHOPPING = trace_of(
    [view(1, 10, After.CART), view(2, 30, After.CART), checkout(40), view(1, 10)],
    [view(3, 20, After.BUY), view(0, 10, After.CART, gap=20.0)],
)
CATEGORY = (0, 0, 1, 1)
FRAME = frame_of(SHOPPING, *CATEGORY)


def sums(counting: Callable[..., counts.Counts], trace: Trace = SHOPPING) -> Any:
    """All sums of a record, [1, J]."""
    found = counting(trace, FRAME)
    return np.bincount(found.column, found.weight, minlength=found.size)[None].astype(float)


def row(*values: float) -> Any:
    return np.array([values], dtype=float)


def test_views_carts_and_orders_are_counted() -> None:
    # Why: 5 views of which 3 carted; 2 of 3 carted items are paid; both sessions order; 60 in all.
    assert sums(counts.carts).tolist() == [[3, 5]]
    assert sums(counts.carts_paid).tolist() == [[2, 3]]
    assert sums(counts.conversions).tolist() == [[2, 2]]
    assert sums(counts.revenue).tolist() == [[60, 2]]
    assert sums(counts.basket_value).tolist() == [[60, 2]]
    assert sums(counts.lengths)[0, :5].tolist() == [0, 0, 1, 1, 0]


def test_a_checkout_is_shared_out_over_its_cart() -> None:
    # Why: revenue by price needs to know what was paid for; 40 = 10 + 30.
    owner, price, amount = purchase_lines(SHOPPING)
    lines = sorted(zip(owner.tolist(), price.tolist(), amount.tolist(), strict=True))
    assert lines == [(0, 10.0, 10.0), (0, 30.0, 30.0), (1, 20.0, 20.0)]


def test_a_second_checkout_pays_only_what_came_after_the_first() -> None:
    # Why: the cart is empty after a checkout.
    twice = trace_of([view(1, 10, After.CART), checkout(10), view(2, 30, After.CART), checkout(30)])
    assert purchase_lines(twice)[2].tolist() == [10.0, 30.0]


def test_types_and_transitions() -> None:
    # Why: cart cart checkout view leave | buy cart leave, and what came before each.
    assert event_types(SHOPPING).tolist() == [3, 3, 5, 0, 6, 4, 3, 6]
    found = counts.transitions(SHOPPING, FRAME).column
    assert found.tolist() == [3, 4 * 7 + 3, 4 * 7 + 5, 6 * 7, 7 + 6, 4, 5 * 7 + 3, 4 * 7 + 6]


def test_returns_to_an_item_are_counted_in_views() -> None:
    # Why: item 1 comes again after one other view; a checkout is no view; sessions do not mix.
    assert lags(SHOPPING).tolist() == [0, 0, 0, 2, 0, 0, 0, 0]
    assert sums(counts.repeats).tolist() == [[1, 5]]
    assert sums(counts.returns)[0, 2] == 1 and sums(counts.returns).sum() == 1


def test_gaps_have_columns_of_a_hundredth() -> None:
    # Why: ln 10 = 2.3026 and ln 20 = 2.9957; neither a first step nor leaving has a time.
    found = sums(counts.gaps)[0]
    assert found[230] == 3 and found[299] == 1 and found.sum() == 4


def test_pages_can_be_chosen() -> None:
    # Why: drift compares late pages with early ones; page 1 is the first.
    early = counts.events(SHOPPING, FRAME).on_pages(1, 2)
    assert early.column.tolist() == [3, 3, 4, 3]


def test_segments_are_the_categories_in_which_sessions_begin() -> None:
    # Why: session 0 begins in category 0, session 1 in category 1, each a segment of its own.
    found = sums(counts.in_segments(counts.revenue))[0]
    first, second = (int(FRAME.segment[item]) for item in (1, 3))
    assert first != second
    assert found[2 * first : 2 * first + 2].tolist() == [40, 1]
    assert found[2 * second : 2 * second + 2].tolist() == [20, 1]


def test_revenue_by_decile_adds_up() -> None:
    # Why: nothing that is paid may be lost between the tenths.
    found = sums(counts.revenue_by_decile)[0]
    assert found[:-1].sum() == 60 and found[-1] == 2


def test_pairs_and_their_mutual_information() -> None:
    # Why: items 0 and 1 share 2 of 4 sessions, 0 is in 3, 1 in 2: log of 2.5 / (3.5 * 2.5) * 4.
    trace = trace_of([view(0), view(1)], [view(1), view(0), view(0)], [view(0)], [view(2)])
    frame = frame_of(trace, 0, 0, 0)
    assert frame.pair.tolist() == [[0, 1]]
    found = counts.pairs(trace, frame)
    total = np.bincount(found.column, found.weight, minlength=found.size)
    assert total.tolist() == [2, 3, 2, 4]
    information = rows.mutual_information(total[None])
    assert information[0, 0] == pytest.approx(np.log(2.5 / (3.5 * 2.5) * 4))


def test_popularity_is_that_of_items_met_in_training() -> None:
    # Why: item 2 was never viewed there.
    trace = trace_of([view(0), view(2)], [view(3)])
    found = counts.known_item_views(
        trace, frame_of(trace_of([view(0), view(1), view(3)]), *CATEGORY)
    )
    assert found.column.tolist() == [0, 2] and found.size == 3


def test_blocks_keep_a_shopper_together_and_tables_add_up() -> None:
    # Why: halves that share a shopper are more alike than strangers are.
    trace = trace_of(*([view(i % 3)] for i in range(9)), shoppers=[0, 0, 0, 1, 1, 1, 2, 2, 2])
    block = blocks_of(trace, np.random.default_rng(0))
    assert sorted(set(block.tolist())) == [0, 1, 2]
    assert all(len(set(block[i : i + 3].tolist())) == 1 for i in (0, 3, 6))
    found = table(counts.item_views(trace, frame_of(trace, 0, 0, 0)), block)
    assert found.toarray().tolist() == [[1, 1, 1]] * 3


def test_sessions_can_be_taken() -> None:
    # Why: halves and folds are made of it.
    taken = SHOPPING.take(np.array([1, 0]))
    assert taken.item.tolist() == [3, 0, -1, 1, 2, -1, 1, -1]
    assert taken.paid.tolist() == [20, 0, 0, 0, 0, 40, 0, 0]
    assert taken.offset.tolist() == [0, 3, 8] and taken.number.tolist() == [0, 1, 2, 0, 1, 2, 3, 4]


@pytest.mark.parametrize(
    ("error", "simulated", "real", "expected"),
    [
        (rows.kolmogorov, (1, 1, 2), (2, 1, 1), 0.25),  # 1/4 2/4 4/4 against 2/4 3/4 4/4
        (rows.total_variation, (1, 1, 2), (2, 1, 1), 0.25),  # (1/4 + 0 + 1/4) / 2
        (rows.relative(rows.ratio), (3, 10), (2, 10), 0.5),
        (rows.difference(rows.ratio), (3, 10), (2, 10), 0.1),
        (rows.worst_segment, (20, 100, 30, 100), (40, 100, 40, 100), 0.5),
        (rows.worst_segment, (20, 100, 9, 100), (40, 100, 3, 100), 0.5),  # three are too few
        (rows.spearman, (1, 2, 3), (30, 20, 10), -1.0),
    ],
)  # fmt: skip
def test_errors_by_hand(
    error: rows.Error, simulated: tuple[float, ...], real: tuple[float, ...], expected: float
) -> None:
    # Why: a statistic that is wrong lets a wrong shop pass.
    assert error(row(*simulated), row(*real))[0] == pytest.approx(expected)


@pytest.mark.parametrize(
    ("figure", "values", "expected"),
    [
        (rows.mean, (0, 2, 0, 2), 2.0),
        (rows.gini, (1, 1, 1, 1), 0.0),
        (rows.gini, (0, 0, 0, 1), 0.75),
        (rows.covered, (0, 3, 1, 0), 0.5),
        (rows.percentile_95, (0, 90, 10), 2.0),  # half-way through the column of 2, from 1.5 on
    ],
)
def test_figures_by_hand(figure: rows.Figure, values: tuple[float, ...], expected: float) -> None:
    # Why: they stand in the table beside the error.
    assert figure(row(*values))[0] == pytest.approx(expected)


def test_the_worst_tenth_of_the_price() -> None:
    # Why: nine tenths right and one sold half as often as it should is an error of a half.
    real = np.ones((1, 11))
    simulated = real.copy()
    simulated[0, 3] = 0.5
    assert rows.worst_decile(simulated, real)[0] == pytest.approx(0.5)


def test_calibration_by_hand() -> None:
    # Why: 0.2 forecast and 0.3 happened in one half of the forecasts, 0.6 and 0.6 in the other.
    chance = np.repeat([0.2, 0.6], 10 * BINS)
    happened = np.concatenate(
        [np.tile(np.arange(10) < 3, BINS), np.tile(np.arange(10) < 6, BINS)]
    )  # fmt: skip
    found = forecasts_of(np.arange(len(chance)), chance, happened)
    assert np.bincount(found.bin).tolist() == [20] * BINS
    ours, theirs = (found.counts(x) for x in (found.chance, found.happened))
    both = [np.bincount(x.column, x.weight, minlength=x.size)[None] for x in (ours, theirs)]
    assert bin_error(*both)[0] == pytest.approx(0.05)
    forecast, frequency = found.curve()
    assert forecast[0] == pytest.approx(0.2) and frequency[-1] == pytest.approx(0.6)


def test_auc_by_hand() -> None:
    # Why: of the four pairs one is a tie and one is turned around: (2 + 1/2) / 4.
    score, label = np.array([0.1, 0.6, 0.6, 0.9]), np.array([0.0, 1.0, 0.0, 1.0])
    assert auc(score, label) == pytest.approx(3.5 / 4)
    assert auc(np.array([0.1, 0.5, 0.5, 0.4]), np.array([0.0, 1.0, 0.0, 1.0])) == 0.625


def test_features_by_hand() -> None:
    # Why: some forty of them, each under its name; NaN where a session has none.
    found = session_features(SHOPPING, FRAME)
    assert 35 <= len(found) + 4 <= 45  # and four more where pages are known
    assert found["views"].tolist() == [3, 2] and found["carts"].tolist() == [2, 1]
    assert found["first_checkout"].tolist() == [2, 200] and found["repeats"].tolist() == [1, 0]
    assert found["items"].tolist() == [2, 2] and found["views_after_order"].tolist() == [1, 1]
    assert found["revenue"] == pytest.approx(np.log([41, 21]))
    assert found["lag"][0] == 2 and np.isnan(found["lag"][1])
    assert found["gap_last"] == pytest.approx(np.log([10, 20]))
    assert "clicks" not in found


def test_whole_seconds_for_a_site_whose_clock_has_no_others() -> None:
    # Why: fractions of a second would give every simulated session away.
    trace = trace_of([view(0), view(1, gap=2.4)])
    assert trace.rounded().sessions.event.gap.tolist() == [0.0, 2.0, 0.0]


def test_prices_are_not_looked_at_where_there_are_none() -> None:
    # Why: a price of 1 each is no price.
    catalog = catalog_of(*CATEGORY)
    bare = make_frame(SHOPPING, SHOPPING, type(catalog)(**{**vars(catalog), "priced": False}))
    assert not [name for name in session_features(SHOPPING, bare) if "price" in name]
