"""Models side by side, in one cell or several: figures with their intervals, and tables of them.

A cell is one choice of log and seed (`experiments.comparing.jobs`). All models meet every cell, so
that a difference of two of them is taken within cells, where the chance of a log is on both sides.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from scipy import stats

from recgym.metrics import CONFIDENCE, UNDEFINED, Estimate

BESIDE = "beside_the_best"
Rows = Mapping[str, Mapping[str, Any]]  # figures of each model in one cell
Estimates = dict[str, dict[str, Estimate]]  # the same of all cells


class Column(NamedTuple):
    """One figure of each model."""

    title: str
    form: str = "{:.4f}"


class Order(NamedTuple):
    """What rows are sorted by, and held against the best of them."""

    key: str
    rising: bool = False  # whether less is better
    last: tuple[str, ...] = ()  # rows that stand below and are no rivals


def over_cells(values: Sequence[float | None]) -> Estimate:
    """Mean over cells with its interval by Student's t; without one where there is but one cell.

    Undefined if it is undefined in any cell.
    """
    known = [value for value in values if value is not None]
    if not known or len(known) < len(values):
        return UNDEFINED
    mean = float(np.mean(known))
    if len(known) == 1:
        return Estimate(mean, None, None)
    if np.ptp(known) == 0:  # a scale of 0 has no law
        return Estimate(mean, mean, mean)
    low, high = stats.t.interval(CONFIDENCE, len(known) - 1, loc=mean, scale=stats.sem(known))
    return Estimate(mean, float(low), float(high))


def side_by_side(cells: Sequence[Rows], keys: Sequence[str], order: Order) -> Estimates:
    """The figures ``keys`` of each model over the cells, the best model first.

    With several cells each has `BESIDE` as well: how far it lies from the best by the figure that
    orders them, as the mean of differences within cells. Where that interval holds 0, the two do
    not differ beyond chance.
    """

    def values(name: str, key: str) -> list[float | None]:
        return [cell[name].get(key) for cell in cells]

    def worth(name: str) -> float:
        mean = found[name][order.key].mean
        return float("-inf") if mean is None else -mean if order.rising else mean

    found = {
        name: {key: over_cells(values(name, key)) for key in dict.fromkeys([order.key, *keys])}
        for name in cells[0]
    }
    models = sorted((name for name in found if name not in order.last), key=worth, reverse=True)
    if len(cells) > 1:
        of_best = values(models[0], order.key)
        for name in found:
            pairs = zip(values(name, order.key), of_best, strict=True)
            apart = [None if a is None or b is None else a - b for a, b in pairs]
            found[name][BESIDE] = UNDEFINED if name == models[0] else over_cells(apart)
    return {name: found[name] for name in [*models, *order.last] if name in found}


def table(
    first: str, columns: Mapping[str, Column], rows: Mapping[str, Mapping[str, Estimate]],
    order: Order,
) -> str:  # fmt: skip
    """One row a model, as they come; a dash where a figure does not apply."""
    ordering, shown = columns[order.key], dict(columns)
    if any(BESIDE in found for found in rows.values()):
        best, signed = next(iter(rows)), ordering.form.replace("{:", "{:+")
        beside = {BESIDE: Column(f"{ordering.title} beside {best}", signed)}
        place = list(columns).index(order.key) + 1
        listed = list(columns.items())
        shown = dict(listed[:place]) | beside | dict(listed[place:])
    lines = [f"| {first} | {' | '.join(column.title for column in shown.values())} |"]
    lines.append("|---" * (len(shown) + 1) + "|")
    for name, found in rows.items():
        said = [_written(found[key], column.form) for key, column in shown.items()]
        lines.append(f"| {name} | {' | '.join(said)} |")
    return "\n".join(lines)


def table_of(
    first: str, columns: Mapping[str, Column], cells: Sequence[Rows], order: Order
) -> str:  # fmt: skip
    """The table of `side_by_side`."""
    return table(first, columns, side_by_side(cells, list(columns), order), order)


def _written(estimate: Estimate, form: str) -> str:
    if estimate.mean is None:
        return "-"
    mean = form.format(estimate.mean)
    if estimate.low is None or estimate.high is None or estimate.low == estimate.high:
        return mean
    return f"{mean} [{form.format(estimate.low)}, {form.format(estimate.high)}]"
