"""The rows that need the truth: measured elsewhere, read from ``truth.json`` in the run's folder.

No module here may know a true shop's law, so effects and values are measured by an experiment,
which leaves one number (or mean, low and high) under each name.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from recgym.errors import UserError
from recgym.fidelity.verdicts import ERROR, UNKNOWN, UNMEASURED, Row, size_of, verdict

FILE = "truth.json"
COMMAND = "python -m experiments.believable"
# name: title, target (on a log, by a slice whose pages were drawn at random, twice as mild for the
# effect of exposure), form, whether more is better
TRUTHS = {
    "exposure_error": ("effect of exposure on click and purchase", 0.10, "percent", False),
    "elasticity_error": ("price elasticity, difference", 0.2, "number", False),
    "value_error": ("value of the policies, error by true spread", 0.10, "percent", False),
    "kendall_tau": ("ranking of the policies, tau-b", 0.85, "number", True),
    "regret": ("regret of the pick, share of the spread", 0.05, "percent", False),
    "exploitation_gap": ("exploitation gap on incremental revenue", 0.10, "percent", False),
}


def truth_rows(folder: Path, summary: dict[str, Any], truth: bool) -> list[Row]:
    """The rows of `TRUTHS`: judged, not measured yet, or unknown where there is no truth.

    The exploitation gap of the run's own policy is in its summary.

    Raises:
        UserError: if ``truth.json`` is damaged.
    """
    found = _read(folder / FILE)
    if truth and "exploitation_gap" not in found and summary.get("exploitation_gap") is not None:
        found["exploitation_gap"] = summary["exploitation_gap"]
    return [_row(name, found.get(name), truth) for name in TRUTHS]


def _read(file: Path) -> dict[str, Any]:
    if not file.is_file():
        return {}
    try:
        found = json.loads(file.read_text())
    except ValueError as error:
        raise UserError(f"{file} is damaged ({error}): make it again with {COMMAND}.") from error
    if not isinstance(found, dict):
        raise UserError(f"{file} holds no names: make it again with {COMMAND}.")
    return found


def _row(name: str, found: Any, truth: bool) -> Row:
    title, target, form, higher = TRUTHS[name]
    target *= 2.0 if name == "exposure_error" and not truth else 1.0
    known: dict[str, Any] = {
        "name": name,
        "title": title,
        "form": form,
        "target": target,
        "higher": higher,
    }
    estimate = found if isinstance(found, dict) else {"mean": found}
    centre = estimate.get("mean")
    if centre is None:
        if truth:
            return Row(**known, verdict=UNMEASURED, note=f"not measured: run {COMMAND}")
        return Row(**known, verdict=UNKNOWN, note="unknown: this log's truth is not known")
    if not isinstance(centre, int | float):
        raise UserError(f"{FILE} has {name}={found!r}: expected a number or mean, low and high.")
    value, low, high = float(centre), estimate.get("low"), estimate.get("high")
    if not higher:  # a shop that understates is as wrong as one that overstates
        if low is None or high is None:
            value = abs(value)
        else:
            value, low, high = size_of(value, float(low), float(high), ERROR)
    note = f"signed: {centre:+.1%}" if form == "percent" and centre < 0 else ""
    return Row(**known, verdict=verdict(value, target, None, higher), value=value, low=low,
               high=high, note=note)  # fmt: skip
