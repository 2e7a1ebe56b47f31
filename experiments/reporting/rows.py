"""The report as CSV: a row for each policy in each shop's arena, and one for each pair."""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence

from experiments.reporting.findings import Findings
from experiments.reporting.sampling import Interval
from recgym import metrics

FIELDS = ("kind", "where", "shop", "policy", "other", "seeds", "metric", "mean", "low", "high",
          "probability", "p", "p_holm")  # fmt: skip


def csv_text(every: Sequence[Findings]) -> str:
    """Long form: ``kind`` is `value` or `difference`."""
    text = io.StringIO()
    writer = csv.DictWriter(text, FIELDS, lineterminator="\n")
    writer.writeheader()
    for found in every:
        for row in [*_values(found), *_differences(found)]:
            writer.writerow(row)
    return text.getvalue()


def _values(found: Findings) -> list[dict[str, object]]:
    rows = []
    money = "earned_per_shopper"
    if not found.arena.ads:
        money = metrics.money(found.arena.sessions_each)[0]
    for one in found.standings:
        common = {
            "kind": "value",
            "where": found.arena.title,
            "policy": one.name,
            "seeds": len(one.candidate.seeds),
        }
        named = {money if key == "money" else key: value for key, value in one.values.items()}
        shop = found.arena.deciding
        for metric, value in {**named, "lift": one.lift}.items():
            rows.append({**common, "shop": shop, "metric": metric, **_ends(value)})
        rows[-1]["probability"] = one.best
        if one.claim is not None:
            rows.append({**common, "shop": "learned", "metric": "lift", **_ends(one.claim)})
    return rows


def _differences(found: Findings) -> list[dict[str, object]]:
    rows: list[dict[str, object]] = []
    for metric, pairs in (("lift", found.pairs), ("conversion", found.conversion_pairs)):
        for (name, other), pair in pairs.items():
            common = {"kind": "difference", "where": found.arena.title, "metric": metric}
            who = {"shop": found.arena.deciding, "policy": name, "other": other}
            said = {"probability": pair.probability, "p": pair.p, "p_holm": pair.holm}
            rows.append({**common, **who, **_ends(pair.difference), **said})
    return rows


def _ends(value: Interval) -> dict[str, float]:
    return {"mean": value.mean, "low": value.low, "high": value.high}
