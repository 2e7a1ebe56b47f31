"""What the trials of a panel come to: rows of a table, verdicts, and rows by series."""

from __future__ import annotations

import io
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table

from recgym.forecast.clock import Floats
from recgym.forecast.scores import METRICS, Scores, average, draw, interval, resampled
from recgym.forecast.series import Panel
from recgym.forecast.trial import Trial

# what a forecast should reach, on the test block
GAIN, MASE, COVERAGE = 0.10, 0.9, (0.75, 0.85)
WIDTH = 150  # of the tables in the terminal, characters
Row = dict[str, Any]


def table_rows(
    panel: Panel, trials: Mapping[str, Trial], chosen: str, resamples: int, seed: int
) -> list[Row]:
    """One row a model, with intervals of 95 %; the first model is what the others are held against.

    ``gain`` is 1 - MAE / MAE of the first model, both averaged over the series.
    """
    first = next(iter(trials.values())).test
    draws = draw(len(first.mae), first.mae.shape[1], resamples=resamples, seed=seed)
    base, base_R = average(first.mae), resampled(first.mae, draws)
    rows = []
    for name, trial in trials.items():
        row: Row = {"measure": panel.measure, "level": panel.level, "model": name}
        row |= {"series": len(panel.names), "origins": first.mae.shape[1]}
        for metric in METRICS:
            value_SO = getattr(trial.test, metric)
            row[metric] = average(value_SO)
            row[f"{metric}_interval"] = interval(resampled(value_SO, draws))
        defined = base is not None and base > 0 and bool((base_R > 0).all())
        row["gain"] = 1.0 - row["mae"] / base if defined else None
        gain_R = 1.0 - resampled(trial.test.mae, draws) / base_R if defined else np.zeros(0)
        row["gain_interval"] = interval(gain_R)
        row["series_gained"] = _gained(trial.test, first)
        row["valid_mase"], row["valid_mae"] = average(trial.valid.mase), average(trial.valid.mae)
        row["mase_undefined"] = int(np.isnan(trial.test.mase).all(1).sum())
        row["seconds"] = round(trial.seconds, 2)
        row["chosen"] = name == chosen
        row["missed"] = missed(row)
        if name == next(iter(trials)) and not row["chosen"]:
            row["missed"] = row["missed"][1:]  # it is what the others are to be below
        rows.append(row)
    return rows


def _gained(ours: Scores, first: Scores) -> int:
    """Series whose MAE is by `GAIN` or more below that of the first model."""
    mae_S, base_S = by_series(ours.mae), by_series(first.mae)
    return int(((mae_S <= (1.0 - GAIN) * base_S) & (base_S > 0)).sum())


def by_series(value_SO: Floats) -> Floats:
    """Means over the origins at which any series has a value, [S]; NaN where none has."""
    some_SO = value_SO[:, ~np.isnan(value_SO).all(0)]
    return some_SO.mean(1) if some_SO.shape[1] else np.full(len(value_SO), np.nan)


def missed(row: Row) -> list[str]:
    """What the row does not reach of what a forecast should."""
    found = []
    if row["gain"] is None or row["gain"] < GAIN:
        found.append(f"MAE -{GAIN:.0%}")
    if row["mase"] is None or row["mase"] >= MASE:
        found.append(f"MASE {MASE}")
    if row["coverage"] is None or not COVERAGE[0] <= row["coverage"] <= COVERAGE[1]:
        found.append("coverage")
    return found


def series_rows(panel: Panel, trials: Mapping[str, Trial]) -> Iterator[Row]:
    """One row a series and model: means over the test block."""
    for model, trial in trials.items():
        value = {metric: by_series(getattr(trial.test, metric)) for metric in METRICS}
        for s, series in enumerate(panel.names):
            row: Row = {"measure": panel.measure, "level": panel.level, "series": series}
            row["model"] = model
            yield row | {m: float(value[m][s]) for m in METRICS}


def console_lines(rows: list[Row]) -> list[str]:
    """A table a panel, as text of its own width, whatever it is printed on."""
    tables: dict[str, Table] = {}
    for row in rows:
        title = f"{row['measure']} by {row['level']}, {row['series']} series"
        if title not in tables:
            tables[title] = Table(*TITLES, title=title, title_justify="left", box=SIMPLE_HEAD)
        tables[title].add_row(
            ("* " if row["chosen"] else "  ") + row["model"],
            _one(row["mae"], ".4g"),
            _with(row, "gain", "+.0%"),
            f"{row['series_gained']} of {row['series']}",
            _with(row, "mase", ".2f"),
            _one(row["smape"], ".0f"),
            _one(row["pinball"], ".4g"),
            _with(row, "coverage", ".0%"),
            ", ".join(row["missed"]) or "-",
        )
    wide = Console(width=WIDTH, file=io.StringIO())
    with wide.capture() as text:
        for table in tables.values():
            wide.print(table)
    return [line.rstrip() for line in text.get().splitlines()]


def _one(value: float | None, form: str) -> str:
    return "-" if value is None else format(value, form)


def _with(row: Row, name: str, form: str) -> str:
    bounds = row[f"{name}_interval"]
    if bounds is None:
        return _one(row[name], form)
    return f"{_one(row[name], form)} [{bounds[0]:{form}}, {bounds[1]:{form}}]"


TITLES = ("model", "MAE", "below the first", "10 % below in", "MASE", "sMAPE", "pinball",
          "coverage of 80 %", "misses")  # fmt: skip
