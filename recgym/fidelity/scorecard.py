"""All rows of a run's scorecard, in the order in which they are printed."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from recgym import progress
from recgym.fidelity import calibration, discriminators
from recgym.fidelity.calibration import Forecasts
from recgym.fidelity.opening import Compared, Run
from recgym.fidelity.rows import STATISTICS
from recgym.fidelity.score import drift, row_of
from recgym.fidelity.transfer import Transfer
from recgym.fidelity.truths import truth_rows
from recgym.fidelity.verdicts import FAIL, PASS, Row
from recgym.files import write_text

SCHEMA_VERSION = 1


@dataclass(frozen=True)
class Effort:
    """How much work the scorecard is worth; see `conf/fidelity.yaml`."""

    resamples: int
    hard_halvings: int  # of the rows that fit something
    seed: int


@dataclass(frozen=True)
class Scorecard:
    """The rows, and what the page draws beside them."""

    rows: list[Row]
    forecasts: dict[str, Forecasts]
    compared: Compared

    def counted(self, verdict: str) -> int:
        """Rows of this verdict."""
        return sum(row.verdict == verdict for row in self.rows)

    def headline(self) -> str:
        """The scorecard in a sentence."""
        rest = len(self.rows) - self.counted(PASS) - self.counted(FAIL)
        sides, cut = self.compared.sides, self.compared.num_cut
        left_out = f"; {cut:,} cut off by the log's end were left out" if cut else ""
        return (
            f"{self.counted(PASS)} rows pass, {self.counted(FAIL)} fail, {rest} have no number: "
            f"{sides.simulated.num_sessions:,} simulated sessions against "
            f"{sides.real.num_sessions:,} of the {self.compared.reference}{left_out}"
        )


def make(run: Run, compared: Compared, effort: Effort) -> Scorecard:
    """Measure every row."""
    sides = compared.sides
    found = calibration.forecasts(run.model, sides.real)
    progress.advance(0.1)
    transfer = Transfer(compared.training, sides, effort.hard_halvings, effort.seed)
    rows = [
        *_discriminators(compared, effort),
        *(row_of(statistic, sides) for statistic in STATISTICS),
        *(calibration.row_of(name, forecasts, sides) for name, forecasts in found.items()),
        transfer.recall(effort.resamples),
        transfer.purchase(effort.resamples),
        *truth_rows(run.folder, run.summary, sides.truth),
        drift(sides),
    ]
    return Scorecard(rows, found, compared)


def _discriminators(compared: Compared, effort: Effort) -> list[Row]:
    truth = compared.sides.truth
    cases = (
        ("discriminator_features", "discriminator on session features, AUC",
         discriminators.by_features, 0.55 if truth else 0.60, discriminators.MOST),
        ("discriminator_sequences", "discriminator on raw sequences, AUC",
         discriminators.by_sequences, 0.58 if truth else 0.70, discriminators.MOST_SEQUENCES),
    )  # fmt: skip
    return [
        discriminators.row_of(
            name, title, scorer, compared.sides, target, most,
            effort.hard_halvings, effort.resamples, effort.seed,
        )
        for name, title, scorer, target, most in cases
    ]  # fmt: skip


def as_json(card: Scorecard, run: Run, seconds: dict[str, float]) -> dict[str, Any]:
    """What ``scorecard.json`` holds."""
    sides = card.compared.sides
    return {
        "schema_version": SCHEMA_VERSION,
        "run": str(run.folder),
        "reference": card.compared.reference,
        "simulated_sessions": sides.simulated.num_sessions,
        "real_sessions": sides.real.num_sessions,
        "sessions_cut": card.compared.num_cut,
        "passed": card.counted(PASS),
        "failed": card.counted(FAIL),
        "rows": {row.name: row.as_dict() for row in card.rows},
        "seconds": {name: round(taken, 2) for name, taken in seconds.items()},
    }


def write_json(path: Path, content: dict[str, Any]) -> None:
    """NaN is refused, since others cannot read it."""
    write_text(path, json.dumps(content, indent=2, allow_nan=False) + "\n")
