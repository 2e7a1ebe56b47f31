"""The three answers and what they rest on, in sentences."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from experiments.reporting.arenas import AGENT
from experiments.reporting.findings import Findings, Standing
from experiments.reporting.sampling import RESAMPLES, Interval

PER = 100_000  # sessions of what a product team asks for
SHOPS = {
    "true": "the true shop, which wrote the log and is hidden from every agent",
    "scored": "members of the learned shop that no agent was trained in: a claim that only an A/B "
    "test can confirm",
    "learned": "the learned shop itself: a claim that only an A/B test can confirm",
}


@dataclass(frozen=True)
class Answers:
    """To the three questions."""

    which: str
    verdict: str  # a sentence below the name
    sure: str
    sure_more: str
    earn: str
    earn_more: str


def money(value: float, signed: bool = True) -> str:
    """Currency units, with as many digits as they need."""
    digits = 3 if abs(value) < 10 else 2 if abs(value) < 1000 else 0
    text = f"{value:{'+' if signed else ''},.{digits}f}"
    return text.replace("-0.000", "0.000").replace("+0.000", "0.000")


def ranged(value: Interval, signed: bool = True) -> str:
    """A value with its interval."""
    low, mean, high = (money(x, signed) for x in (value.low, value.mean, value.high))
    return mean if low == high else f"{mean} [{low}, {high}]"


def share(value: float, digits: int = 0) -> str:
    """A probability, which a resample can neither call certain nor impossible."""
    if value > 1.0 - 1.0 / RESAMPLES:
        return ">99.9 %"
    return "<0.1 %" if value < 1.0 / RESAMPLES else f"{100.0 * value:.{digits}f} %"


def p_value(value: float) -> str:
    """A p value."""
    return "<0.001" if value < 0.001 else f"{value:.3f}" if value < 0.1 else f"{value:.2f}"


def count(value: float | None) -> str:
    """A large number, as far as it is known: two digits."""
    if value is None:
        return "no difference"
    if value >= 1e9:
        return "more than a billion"
    digits = len(str(int(value))) - 2
    return f"{round(value, -max(digits, 0)):,.0f}"


def unit(found: Findings) -> str:
    """What money is counted by."""
    return "shopper" if found.arena.ads else "session"


def answers(found: Findings) -> Answers:
    """Which policy, how sure, and what will it earn."""
    best = found.winner
    which, verdict = _which(found, best)
    claims = {one.name: one.claim.mean for one in found.deployable if one.claim}
    chosen = max(claims, key=lambda name: claims[name], default=best.name)
    if chosen != best.name:
        verdict += f" By the learned shop alone it would have been {chosen}."
    sure, sure_more = _sure(found, best)
    earn, earn_more = _earn(found, best)
    return Answers(which, verdict, sure, sure_more, earn, earn_more)


def _which(found: Findings, best: Standing) -> tuple[str, str]:
    nothing, second = found.arena.nothing, found.runner_up
    if best.name == nothing:
        return nothing, "No policy comes out above showing nothing."
    if best.lift.low <= 0.0:
        return "none yet", (
            f"{best.name} comes out on top, but no policy is shown to earn more than {nothing}."
        )
    if second is None or found.clear:
        return best.name, f"It earns most of {len(found.deployable)} policies."
    return best.name, (
        f"It leads, but {second.name} cannot be told from it: take either, or run more seeds and "
        "sessions."
    )


def _sure(found: Findings, best: Standing) -> tuple[str, str]:
    second = found.runner_up
    if second is None or best.best is None:
        return "nothing to compare", f"{best.name} is the only policy."
    pair = found.pairs[best.name, second.name]
    number = len(found.deployable) * (len(found.deployable) - 1) // 2
    said = (
        f"{best.name} beats the runner-up, {second.name}, with a probability of "
        f"{share(pair.probability)} (p {p_value(pair.holm)} by Holm over {number} pairs)"
    )
    logging = found.standing("logging")
    if logging is not None and "logging" not in (best.name, second.name):
        against = found.pairs[best.name, "logging"].probability
        said += f", and what the log's site does, logging, with {share(against)}"
    if best.name != found.arena.nothing and second.name != found.arena.nothing:
        against = found.pairs[best.name, found.arena.nothing].probability
        said += f"; {found.arena.nothing}: {share(against)}"
    return f"{share(best.best)} best", f"{said}. {based_on(found)}"


def based_on(found: Findings) -> str:
    """How many seeds and shoppers, and whether in pairs."""
    seeds = sorted({len(one.candidate.seeds) for one in found.standings
                    if one.candidate.kind == AGENT})  # fmt: skip
    trained = " to ".join(str(x) for x in dict.fromkeys((seeds[0], seeds[-1]))) if seeds else "no"
    pairs = "the same ones for every policy" if found.arena.paired else "without pairs"
    return (
        f"{trained} training seed{'' if trained == '1' else 's'}, "
        f"{found.arena.num_sessions:,} shoppers, {pairs}."
    )


def _earn(found: Findings, best: Standing) -> tuple[str, str]:
    per, shop = unit(found), found.arena.deciding
    many = best.lift.times(PER)
    low, mean, high = (f"{x:+,.0f}" for x in (many.low, many.mean, many.high))
    what = "earnings" if found.arena.ads else "revenue"
    said = (
        f"above {found.arena.nothing} in incremental {what}, 95 % from {money(best.lift.low)} to "
        f"{money(best.lift.high)}; {mean} currency units [{low}, {high}] per {PER:,} {per}s."
    )
    if best.lift.low <= 0.0 < best.lift.high:
        said += " The interval holds 0: this may be nothing."
    if best.range and shop == "learned":
        said += (
            f" Over the assumptions of what showing does it is {money(best.range[0])} to "
            f"{money(best.range[1])} a {per}."
        )
    logging = found.standing("logging")
    if logging is not None and best.name != "logging":
        gain = found.pairs[best.name, "logging"].difference
        said += f" Above what the log's site does: {ranged(gain)}."
    said += f" The number comes from {SHOPS[shop]}."
    if best.claim is not None:
        said += f" The learned shop claims {ranged(best.claim)}"
        ends = best.range
        said += f" ({money(ends[0])} to {money(ends[1])} over its assumptions)." if ends else "."
    return f"{money(best.lift.mean)} a {per}", said


# ---- what was assumed ---------------------------------------------------------------------------


def assumed(found: Findings) -> list[str]:
    """What the answers rest on, a sentence each."""
    first, lines = found.arena.runs[0].summary, []
    lines += [_log_line(first["log"]), _fit_line(first["user_model"])]
    said = first["user_model"].get("assumptions")
    if said:
        lines.append(f"The log does not say what was shown, so it is assumed: {said['sentence']}")
    law = first.get("ad_law")
    if law:
        fitted = ", ".join(sorted(law["fitted"])) or "nothing"
        lines.append(
            f"What ads do to shoppers: fitted on the log {fitted}; assumed "
            f"{', '.join(law['assumed']) or 'nothing'}."
        )
    if "true" not in found.arena.shops:
        lines.append(
            "The true shop is unknown: every value is the learned shop's own claim, and an A/B "
            "test alone can confirm it."
        )
    if any(one.name == "oracle" for one in found.standings):
        lines.append(
            "oracle sees the true shop's own probabilities: a myopic ceiling that no site can "
            "deploy, left out of probabilities and tests."
        )
    lines.append(
        f"Intervals and probabilities: {RESAMPLES:,} resamples of training seeds first and then of "
        "shoppers. P values: Student's t with the degrees of freedom that the seeds leave. The "
        "best of many is a little flattered by having been chosen."
    )
    if {"reward", "pessimism"} & {
        key for one in found.standings for key, _ in one.candidate.values
    }:
        lines.append(
            "Candidates were trained on different rewards: their learning curves are in different "
            "units."
        )
    single = [one.name for one in found.standings
              if one.candidate.kind == AGENT and len(one.candidate.seeds) == 1]  # fmt: skip
    if single:
        lines.append(
            f"{', '.join(single)}: one training seed, so that the intervals know of shoppers alone."
        )
    if not found.arena.paired:
        lines.append(
            "Pairs are missing: not every run kept its shoppers' numbers (stats.npz) of the same "
            "shoppers, so values are compared by their intervals, which are wider than need be."
        )
    return lines


def alarms(found: Findings) -> list[str]:
    """What speaks against believing the numbers."""
    lines = []
    for run in found.arena.runs:
        scored = run.summary.get("cross_scored")
        where = f"{run.agent} (run {run.name})"
        if scored and scored["alarm"]:
            lines.append(
                f"Exploitation alarm: the claim of {where} does not hold where it was not trained; "
                "trust the scored value."
            )
        if scored and not scored["reliable"]:
            lines.append(
                f"No reliable lift in run {run.name}: the best policy, {scored['best']}, is not "
                "clearly above 1 % of what empty pages earn."
            )
    check = found.arena.runs[0].summary["user_model"].get("on_policy", {})
    if check.get("confounded"):
        lines.append(str(check["confounded"]))
    revenue = check.get("revenue_per_session")
    if isinstance(revenue, dict) and revenue["error"] is not None:
        floor, error = revenue["noise_floor"], revenue["error"]
        ours, theirs = revenue["simulated"], revenue["reference"]
        apart = ours["low"] > theirs["high"] or ours["high"] < theirs["low"]
        if apart or (floor is not None and abs(error) > floor):
            lines.append(
                f"On-policy check: under the logging policy the learned shop's revenue is "
                f"{error:+.0%} off the {check['reference']}, more than chance."
            )
    return lines


def _log_line(log: dict[str, Any]) -> str:
    parts = [f"Log: {log.get('source', log.get('name', 'a log'))}"]
    for key, what in (("sessions", "sessions"), ("shoppers", "shoppers"), ("items", "items")):
        if isinstance(log.get(key), int):
            parts.append(f"{log[key]:,} {what}")
    if log.get("first_day"):
        parts.append(f"{log['first_day']} to {log.get('last_day')}")
    return ", ".join(parts) + "."


def _fit_line(fit: dict[str, Any]) -> str:
    said = f"User model: {fit['name']}"
    own, popular = fit.get("nll_next_view"), fit.get("popularity_nll_next_view")
    if own is not None and popular is not None:
        said += f"; NLL of the next view {own:.3f} (popularity {popular:.3f})"
    if fit.get("recall_at_20") is not None:
        said += f", Recall@20 {fit['recall_at_20']:.3f}"
    return said + "."


def on_policy_rows(found: Findings) -> list[list[str]]:
    """The on-policy check as a table."""
    check = found.arena.runs[0].summary["user_model"].get("on_policy", {})
    rows = []
    for name, row in check.items():
        if isinstance(row, dict) and row.get("error") is not None:
            floor = row["noise_floor"]
            ours, theirs = row["simulated"]["mean"], row["reference"]["mean"]
            known = "-" if floor is None else f"{floor:.1%}"
            rows.append([name, f"{ours:.4f}", f"{theirs:.4f}", f"{row['error']:+.1%}", known])
    return rows


def trust_rows(found: Findings) -> list[list[str]]:
    """How far the learned shop was right about each trained policy, where the truth is known."""
    rows = []
    for run in found.arena.runs:
        summary = run.summary
        if summary.get("kendall_tau") is None and summary.get("exploitation_gap") is None:
            continue
        said = [
            "-" if summary.get(key) is None else form.format(summary[key])
            for key, form in (
                ("exploitation_gap", "{:+.0%}"),
                ("kendall_tau", "{:.2f}"),
                ("regret", "{:.0%}"),
                ("headroom_share", "{:.0%}"),
            )
        ]
        rows.append([f"{run.agent} (run {run.name})", *said])
    return rows
