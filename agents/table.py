"""The table of policies, as text."""

from __future__ import annotations

from typing import Any

COLUMNS = (
    ("conversion", "conversion_rate", "{:.2%}"),
    ("revenue/session", "revenue_per_session", "{:.3f}"),
    ("incremental", "incremental_revenue_per_session", "{:+.3f}"),
)


def _cell(estimate: dict[str, float | None] | None, form: str) -> str:
    if estimate is None or estimate["mean"] is None:
        return "-"
    mean = form.format(estimate["mean"])
    if estimate["low"] is None or estimate["high"] is None:
        return mean
    low, high = form.format(estimate["low"]), form.format(estimate["high"])
    return f"{mean} [{low}, {high}]"


def policy_table(summary: dict[str, Any]) -> str:
    """A row a policy, a column a shop and metric; each cell with its 95 % interval."""
    shops = ("learned", "true")
    head = ["policy", *(f"{shop}: {title}" for shop in shops for title, _, _ in COLUMNS)]
    rows = [head]
    for name, values in summary["policies"].items():
        row = [name]
        for shop in shops:
            for _, metric, form in COLUMNS:
                row.append(_cell((values[shop] or {}).get(metric), form))
        rows.append(row)
    width = [max(len(row[column]) for row in rows) for column in range(len(head))]
    lines = ["  ".join(cell.ljust(w) for cell, w in zip(row, width, strict=True)) for row in rows]
    lines.insert(1, "  ".join("-" * w for w in width))
    return "\n".join(line.rstrip() for line in lines)
