"""The files of a forecast, each written beside and renamed."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from recgym.files import write_json, write_text
from recgym.forecast.clock import Clock, Floats
from recgym.forecast.models.base import QUANTILES
from recgym.forecast.series import Panel

SCHEMA_VERSION = 1


def write_forecast(file: Path, content: dict[str, Any]) -> None:
    """With the version of its layout."""
    write_json(file, {"schema_version": SCHEMA_VERSION, **content})


def write_csv(file: Path, rows: Sequence[dict[str, Any]]) -> None:
    """One line a row; an interval becomes two columns, a list words."""
    text = io.StringIO()
    flat = [_flat(row) for row in rows]
    writer = csv.DictWriter(text, list(flat[0]), lineterminator="\n")
    writer.writeheader()
    writer.writerows(flat)
    write_text(file, text.getvalue())


def _flat(row: dict[str, Any]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for name, value in row.items():
        if name.endswith("_interval"):
            found[f"{name}_low"], found[f"{name}_high"] = value or (None, None)
        else:
            found[name] = "; ".join(value) if isinstance(value, list) else value
    return found


def next_rows(panel: Panel, model: str, quantile_SHQ: Floats, clock: Clock) -> Iterable[Any]:
    """One row a series and step ahead."""
    for s, series in enumerate(panel.names):
        for h, quantile_Q in enumerate(quantile_SHQ[s]):
            row = {"measure": panel.measure, "level": panel.level, "series": series}
            row |= {"time": clock.time(clock.num_steps + h), "model": model}
            named = zip(QUANTILES, quantile_Q, strict=True)
            yield row | {f"q{100 * q:.0f}": round(float(x), 4) for q, x in named}
