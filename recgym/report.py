"""What the mains print of a log and of a fit."""

from __future__ import annotations

from typing import Any

from recgym import progress
from recgym.logs.base import ReaderBase
from recgym.logs.log import Log
from recgym.record import TrueShopLog
from recgym.types import SessionStats, Split

# what is known of shops: shares of views unless said; sources: REES46 and Taobao as cleaned here,
# OTTO's published session statistics, surveys of price elasticity
KNOWN = (
    ("carts of views", "carts", "5 - 9 %", 0.05, 0.09, "{:.1%}"),
    ("purchases of views", "purchases", "2 - 2.6 %", 0.02, 0.026, "{:.2%}"),
    ("sessions with a purchase", "converted", "4 - 10 %", 0.04, 0.10, "{:.1%}"),
    ("session length, mean", "mean", "5 - 6 views", 5.0, 6.0, "{:.2f}"),
    ("session length, median", "median", "3 views", 3.0, 3.0, "{:.0f}"),
    ("session length, 95th percentile", "p95", "about 20 views", 16.0, 24.0, "{:.0f}"),
    ("Gini of item views", "gini", "0.70 - 0.89", 0.70, 0.89, "{:.2f}"),
    ("views from pages", "from_page", "about 20 %", 0.17, 0.23, "{:.1%}"),
)


def figures(log: Log) -> dict[str, float]:
    """The figures of `KNOWN`, of all sessions of a log."""
    stats: SessionStats = log.stats(*Split)
    views = float(stats.views.sum())
    count_I = _views_by_item(log)
    share_I = count_I.sort().values.cumsum(0) / count_I.sum()
    return {
        "carts": float(stats.carts.sum()) / views,
        "purchases": float(stats.orders.sum()) / views,
        "converted": float((stats.orders > 0).float().mean()),
        "mean": float(stats.views.mean()),
        "median": float(stats.views.median()),
        "p95": float(stats.views.quantile(0.95)),
        "gini": 1.0 - 2.0 * float(share_I.mean()) + 1.0 / len(share_I),
        "from_page": float(stats.clicks.sum()) / views,
    }


def _views_by_item(log: Log) -> Any:
    item_S = log.sessions().event.item
    return item_S[item_S >= 0].bincount(minlength=log.catalog().num_items).double()


def card_of_figures(values: dict[str, float], elasticity: float | None) -> list[str]:
    """The log's figures beside those of known shops; a figure outside its range is marked."""
    lines = [f"{'figure':<34}{'this log':>10}   known shops"]
    for title, key, known, low, high, form in KNOWN:
        mark = "" if low <= values[key] <= high else "   <- outside"
        lines.append(f"{title:<34}{form.format(values[key]):>10}   {known}{mark}")
    if elasticity is not None:
        lines.append(f"{'price elasticity of sales':<34}{elasticity:>10.2f}   near -2.6")
    return lines


def say_log(log: Log, reader: ReaderBase, reused: bool, elasticity: float | None = None) -> None:
    """Print the log's card, and for a true shop's log its figures."""
    progress.say(f"log: {'reused' if reused else 'made'} {log.folder}")
    progress.say(log.card())
    if isinstance(reader, TrueShopLog):
        for line in card_of_figures(figures(log), elasticity):
            progress.say(line)


def _number(value: float | None, form: str = "{:.4f}") -> str:
    return "-" if value is None else form.format(value)


def fit_lines(report: dict[str, Any], reused: bool) -> list[str]:
    """The report of a fit, as lines."""
    lines = [f"\nuser model: {'reused' if reused else 'fitted'}; on the held-out time"]
    lines.append(f"{'':<22}{'model':>10}{'Markov':>10}{'popularity':>12}")
    for title, key in (
        ("NLL of next view", "nll_next_view"),
        ("Recall@20", "recall_at_20"),
        ("MRR@20", "mrr_at_20"),
    ):
        own, markov, popular = (report.get(p + key) for p in ("", "markov_", "popularity_"))
        lines.append(f"{title:<22}{_number(own):>10}{_number(markov):>10}{_number(popular):>12}")
    lines.append(f"NLL a step {_number(report.get('nll'))}")
    for event in ("cart", "purchase"):
        lines.append(
            f"{event + ' after a view':<22}"
            f"ROC-AUC {_number(report.get(event + '_auc'), '{:.3f}')}   "
            f"calibration error {_number(report.get(event + '_ece'), '{:.5f}')} at a rate of "
            f"{_number(report.get(event + '_rate'), '{:.4f}')}"
        )
    if report.get("propensities"):
        lines.append(_propensity_line(report["propensities"]))
    lines += on_policy_lines(report["on_policy"])
    if report.get("assumptions"):
        lines.append(f"\nassumed: {report['assumptions'].get('sentence')}")
    return lines


def _propensity_line(said: dict[str, Any]) -> str:
    """What the log's propensities tell of clicks, and what was made of it."""
    slope = said["slope"]
    if slope["mean"] is None:
        return "propensities: too few to say whether the logging policy knew more than the log"
    found = f"{slope['mean']:+.2f} [{slope['low']:+.2f}, {slope['high']:+.2f}]"
    if not said["weighed"]:
        return f"propensities tell no more of clicks than the log's records (slope {found})"
    return (
        f"propensities tell of clicks what the log's records do not (slope {found}): slots "
        f"tell of taste, and are weighed at an effective share of {said['effective_share']:.0%}"
    )


def on_policy_lines(check: dict[str, Any]) -> list[str]:
    """The on-policy check, as lines."""
    lines = [
        "",
        f"on-policy check: {check.get('policy', 'the logging policy')} in the learned shop "
        f"against the {check['reference']}",
        f"{'':<22}{'learned':>12}{'reference':>12}{'error':>9}   noise floor of the reference",
    ]
    for name, row in check.items():
        if not isinstance(row, dict):
            continue
        if row["error"] is None:
            lines.append(f"{name:<22}{'-':>12}{'-':>12}{'-':>9}")
            continue
        ours, theirs = row["simulated"]["mean"], row["reference"]["mean"]
        floor = _number(row["noise_floor"], "{:.1%}")
        lines.append(f"{name:<22}{ours:>12.4f}{theirs:>12.4f}{row['error']:>+9.1%}   {floor}")
    if check.get("confounded"):
        lines.append(check["confounded"])
    if check.get("sessions_cut"):
        cut = check["sessions_cut"]
        lines.append(f"left out: {cut:,} held-out sessions that the log's end may have cut off")
    return lines
