"""``python -m experiments.pessimism sweep=DIR``: what it costs an agent to heed its doubts.

Reads the jobs of ``python -m agents.train -m user_model.ensemble.members=4 pessimism=0,0.5,1,2``:
what the agent claims where it was trained, what it is given where it was not, what it is truly
worth, and how much of the catalogue it shows.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt
from omegaconf import DictConfig, OmegaConf

from recgym import progress
from recgym.cli import command
from recgym.errors import UserError
from recgym.files import beside, write_json

SHOPS = {"learned": "claimed", "scored": "cross-scored", "true": "true"}
INCREMENTAL = "incremental_revenue_per_session"


def jobs_of(sweep: Path) -> list[dict[str, Any]]:
    """One row a finished job, by pessimism and then seed."""
    rows = []
    for summary_file in sorted(sweep.glob("*/summary.json")):
        config = OmegaConf.load(summary_file.with_name("config.yaml"))
        summary = json.loads(summary_file.read_text())
        if "cross_scored" not in summary:
            continue
        shops = summary["policies"][summary["agent"]]
        nearest = shops["true"] or shops["learned"]
        rows.append(
            {
                "pessimism": float(config.pessimism),
                "seed": int(config.seed),
                "agent": summary["agent"],
                **{title: (shops[shop] or {}).get(INCREMENTAL) for shop, title in SHOPS.items()},
                "coverage": nearest["coverage"]["mean"],
                "alarm": summary["cross_scored"]["alarm"],
            }
        )
    if not rows:
        raise UserError(
            f"sweep={sweep} holds no finished job with an ensemble: expected the folder of python "
            "-m agents.train -m user_model.ensemble.members=4 pessimism=0,0.5,1,2."
        )
    return sorted(rows, key=lambda row: (row["pessimism"], row["seed"]))


def table(rows: list[dict[str, Any]]) -> str:
    """Incremental revenue a session with 95 % intervals of sampling, a row a job."""
    titles = ["pessimism", "seed", *SHOPS.values(), "items shown", "alarm"]
    lines = [f"| {' | '.join(titles)} |", "|---" * len(titles) + "|"]
    for row in rows:
        cells = [f"{row['pessimism']:g}", str(row["seed"])]
        cells += [_cell(row[title]) for title in SHOPS.values()]
        cells += [f"{row['coverage']:.0%}", "yes" if row["alarm"] else "no"]
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


def _cell(estimate: dict[str, Any] | None) -> str:
    if estimate is None or estimate["mean"] is None:
        return "-"
    return "{mean:+.2f} [{low:+.2f}, {high:+.2f}]".format(**estimate)


def plot(rows: list[dict[str, Any]], path: Path) -> None:
    """Values above, the share of the catalogue that is shown below."""
    figure, (above, below) = plt.subplots(
        2, 1, figsize=(5.2, 4.6), sharex=True, height_ratios=(3, 1), layout="constrained"
    )
    weights = sorted({row["pessimism"] for row in rows})
    for colour, title in zip(("C0", "C1", "C3"), SHOPS.values(), strict=True):
        known = [row for row in rows if row[title] and row[title]["mean"] is not None]
        for row in known:
            low, high = row[title]["low"], row[title]["high"]
            above.plot([row["pessimism"]] * 2, [low, high], color=colour, alpha=0.4, linewidth=3)
        if known:
            above.plot(weights, _means(known, weights, title), "o-", color=colour, label=title)
    above.set_ylabel("incremental revenue a session")
    above.legend(frameon=False)
    shown = [[row["coverage"] for row in rows if row["pessimism"] == w] for w in weights]
    below.plot(weights, [sum(values) / len(values) for values in shown], "o-", color="C2")
    below.set_ylabel("items shown")
    below.set_ylim(bottom=0.0)
    below.set_xlabel("pessimism: times what the members part over")
    with beside(path) as place:
        figure.savefig(place, dpi=130, format="png")
    plt.close(figure)


def _means(rows: list[dict[str, Any]], weights: list[float], title: str) -> list[float]:
    found = [[row[title]["mean"] for row in rows if row["pessimism"] == w] for w in weights]
    return [sum(values) / len(values) if values else float("nan") for values in found]


@command("pessimism")
def main(cfg: DictConfig) -> None:
    """Table, JSON and plot of a sweep, left in its folder."""
    if cfg.sweep is None:
        raise UserError(
            "sweep is missing: set sweep=DIR, the folder of python -m agents.train -m "
            "user_model.ensemble.members=4 pessimism=0,0.5,1,2."
        )
    folder = Path(cfg.sweep)
    rows = jobs_of(folder)
    write_json(folder / "pessimism.json", {"schema_version": 1, "jobs": rows})
    plot(rows, folder / "pessimism.png")
    progress.say(table(rows))
    progress.say(f"files        {folder / 'pessimism.json'}, pessimism.png")


if __name__ == "__main__":
    main()
