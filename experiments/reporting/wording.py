"""The three answers, in sentences."""

from __future__ import annotations

from dataclasses import dataclass

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
        f"{found.arena.num_shoppers:,} shoppers, {pairs}."
    )


def _earn(found: Findings, best: Standing) -> tuple[str, str]:
    per, shop = found.arena.unit, found.arena.deciding
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
