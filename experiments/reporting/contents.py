"""What stands in a report, part by part."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from experiments.reporting import figures, trust, wording
from experiments.reporting.arenas import AGENT, arenas_of
from experiments.reporting.curves import curves_of
from experiments.reporting.document import Block, Cards, Lines, Section, Table
from experiments.reporting.findings import Findings, Standing, findings_of
from experiments.reporting.runs import Lost, Sweep, short_names
from experiments.reporting.sampling import Interval

QUESTIONS = ("Which policy?", "How sure?", "What will it earn?")
TITLE = "Which policy, how sure, and what will it earn?"
Said = tuple[str, Sequence[Findings]]


def all_findings(sweep: Sweep) -> list[Findings]:
    """Of each arena."""
    return [findings_of(arena) for arena in arenas_of(sweep)]


def sections(sweep: Sweep, every: Sequence[Findings]) -> list[Section]:
    """The whole report; the answers come first."""
    parts = [Section("The answers", [*_answers(every), *_lost_notes(sweep)])]
    overview = _overview(sweep, every)
    if overview:
        parts.append(overview)
    for found in every:
        parts += _arena(found, several=len(every) > 1)
    return [*parts, *_jobs(sweep)]


# ---- the first screen ---------------------------------------------------------------------------


def _answers(every: Sequence[Findings]) -> list[Block]:
    if len(every) == 1:
        return [_cards(every[0]), *_alarms(every[0])]
    rows = []
    for found in every:
        said, best = wording.answers(found), found.winner
        many = f"{wording.ranged(best.lift)} a {found.arena.unit}"
        many += f"; {best.lift.mean * wording.PER:+,.0f} per {wording.PER:,}"
        if best.range and found.arena.deciding == "learned":
            ends = [wording.money(end) for end in best.range]
            many += f" ({ends[0]} to {ends[1]} over the assumptions)"
        second = found.runner_up
        beats = ""
        if second:
            sure = wording.share(found.pairs[best.name, second.name].probability)
            beats = f"; beats {second.name} with {sure}"
        shop = f"{found.arena.deciding} shop"
        leads = f" ({best.name} leads)" if said.which != best.name else ""
        rows.append([found.arena.title, said.which + leads, said.sure + beats, many, shop])
    table = Table("", ["where", *QUESTIONS, "in the"], rows, wraps=True)
    cards: list[Block] = [
        block
        for found in every
        for block in (f"{found.arena.title}:", _cards(found), *_alarms(found))
    ]
    return [table, *cards]


def _cards(found: Findings) -> Cards:
    said = wording.answers(found)
    return Cards([
        (QUESTIONS[0], said.which, said.verdict),
        (QUESTIONS[1], said.sure, said.sure_more),
        (QUESTIONS[2], said.earn, said.earn_more),
    ])  # fmt: skip


def _alarms(found: Findings) -> list[Block]:
    lines = trust.alarms(found)
    return [Lines(lines, warning=True)] if lines else []


def _lost_notes(sweep: Sweep) -> list[Block]:
    counts = [(len(sweep.failed), "failed"), (len(sweep.unfinished), "did not finish")]
    said = [f"{number} {what}" for number, what in counts if number]
    if not said:
        return []
    total = len(sweep.runs) + len(sweep.failed) + len(sweep.unfinished)
    return [Lines([f"Of {total} jobs, {' and '.join(said)}: see the end."], warning=True)]


def _overview(sweep: Sweep, every: Sequence[Findings]) -> Section | None:
    """A map of two swept settings, over all shops of the sweep."""
    if len(sweep.swept) < 2:
        return None
    first, second = sweep.swept[:2]
    names, values = short_names(sweep.swept), dict[tuple[str, str], list[float]]()
    for found in every:
        for one in found.standings:
            if one.candidate.kind == AGENT:
                given = one.candidate.seeds[0].run.overrides
                cell = given.get(first, "default"), given.get(second, "default")
                values.setdefault(cell, []).append(one.lift.mean)
    cells = {cell: float(np.mean(each)) for cell, each in values.items()}
    title = "Two settings at once"
    pair = f"{names[first]} and {names[second]}"
    if not figures.fills_a_map(cells):
        said = f"No map of {pair}: they were swept over too many values, or few of their pairs."
        return Section(title, [said])
    what = "earnings" if every[0].arena.ads else "revenue"
    value = f"Incremental {what} a {every[0].arena.unit}"
    return Section(title, [figures.heat(cells, (names[first], names[second]), value)])


# ---- an arena -----------------------------------------------------------------------------------


def _arena(found: Findings, several: bool) -> list[Section]:
    where = f" ({found.arena.title})" if several else ""
    curves = curves_of(found.arena.candidates)
    drawn = [figures.ranking(found), figures.converting(found)]
    parts = [
        Section(f"Ranking{where}", [*drawn, _ranking(found), _caption(found)]),
        Section(f"Who beats whom{where}", [_matrix(found), _pairs(found)]),
        Section(f"The A/B test{where}", _trial_blocks(found)),
        Section(f"Pareto front{where}", figures.pareto(found)),
    ]
    if curves:
        parts.append(Section(f"Learning{where}", figures.learning(found, curves)))
    said: list[Block] = [Lines(trust.assumed(found))]
    checks = trust.on_policy_rows(found)
    if checks:
        head = ["on-policy check", "learned shop", "reference", "error", "noise floor"]
        said.append(Table("", head, checks))
    gaps = trust.trust_rows(found)
    if gaps:
        head = ["learned against true shop", "exploitation gap", "Kendall tau", "regret",
                "share of headroom"]  # fmt: skip
        said.append(Table("", head, gaps))
    return [*parts, Section(f"What was assumed{where}", said)]


def _caption(found: Findings) -> str:
    shop = wording.SHOPS[found.arena.deciding]
    money = (
        "earned is what the platform earns, ad revenue and its share of sales, by the weights of "
        "the environment"
        if found.arena.ads
        else "revenue counts carts as they fill"
    )
    return f"Values in {shop}; {money}. Intervals of 95 % over {wording.based_on(found)}"


def _ranking(found: Findings) -> Table:
    per, ads = found.arena.unit, found.arena.ads
    head = ["policy", "kind", "seeds", f"{'earned' if ads else 'revenue'}/{per}",
            f"above {found.arena.nothing}", "conversion", "best"]  # fmt: skip
    head += ["sales/session", "ad revenue/session", "ad load"] if ads else []
    head += ["sessions/shopper"] if "sessions" in found.winner.values else []
    claims = any(one.claim for one in found.standings)
    ranges = any(one.range for one in found.standings)
    head += ["learned shop claims"] if claims else []
    head += ["over assumptions"] if ranges else []
    rows = [_ranking_row(one, ads, claims, ranges) for one in found.standings]
    winner = next(k for k, one in enumerate(found.standings) if one is found.winner)
    return Table("", head, rows, bold=winner)


def _ranking_row(one: Standing, ads: bool, claims: bool, ranges: bool) -> list[str]:
    values = one.values
    seeds = str(len(one.candidate.seeds)) if one.candidate.kind == AGENT else "-"
    row = [one.name, one.candidate.kind, seeds]
    row += [wording.ranged(values["money"], signed=False), wording.ranged(one.lift)]
    row += [_share(values["conversion"]), "-" if one.best is None else wording.share(one.best)]
    if ads:
        row += [wording.ranged(values[key], signed=False) for key in ("sales", "ad_revenue")]
        row.append(_share(values["load"]))
    if "sessions" in values:
        row.append(wording.ranged(values["sessions"], signed=False))
    row += [wording.ranged(one.claim) if one.claim else "-"] if claims else []
    ends = one.range
    row += [f"{wording.money(ends[0])} to {wording.money(ends[1])}" if ends else "-"] * ranges
    return row


def _share(value: Interval) -> str:
    return f"{value.mean:.2%} [{value.low:.2%}, {value.high:.2%}]"


def _matrix(found: Findings) -> Table:
    names = [one.name for one in found.deployable]
    rows, shade = [], []
    for name in names:
        chance = [None if a == name else found.pairs[name, a].probability for a in names]
        rows.append([name, *("0" if p is None else wording.share(p) for p in chance)])
        shade.append([None, *chance])
    title = "Probability that the policy of the row earns more than that of the column"
    title += ", on the same shoppers" if found.arena.paired else ", without pairs"
    return Table(f"{title}; a policy differs from itself by 0.", ["", *names], rows, shade)


def _pairs(found: Findings) -> Table:
    """Those of the winner; all the others are in the matrix and the CSV."""
    winner, per = found.winner.name, found.arena.unit
    rows = []
    for one in found.deployable[1:]:
        pair, sold = found.pairs[winner, one.name], found.conversion_pairs[winner, one.name]
        rows.append([
            f"{winner} - {one.name}", wording.ranged(pair.difference),
            wording.share(pair.probability), wording.p_value(pair.p), wording.p_value(pair.holm),
            f"{100 * sold.difference.mean:+.2f} [{100 * sold.difference.low:+.2f}, "
            f"{100 * sold.difference.high:+.2f}]",
            wording.p_value(sold.holm),
        ])  # fmt: skip
    head = ["difference", f"money/{per}", "P(> 0)", "p", "p, Holm", "conversion, points",
            "p, Holm"]  # fmt: skip
    number = len(found.deployable) * (len(found.deployable) - 1) // 2
    return Table(
        f"The winner against each other; Holm's correction over {number} pairs", head, rows
    )


def _trial_blocks(found: Findings) -> list[Block]:
    if not found.trials:
        return [
            "Not known: the runs do not hold each shopper's numbers (stats.npz), from which the "
            f"variance of a {found.arena.unit} is taken."
        ]
    winner, rows, per = found.winner.name, [], found.arena.unit
    for name, one in found.trials.items():
        pair = found.pairs[winner, name].difference
        open_end = " (or any more: the interval holds 0)" if pair.low <= 0.0 <= pair.high else ""
        rows.append([
            f"{winner} against {name}", wording.money(one.difference),
            wording.count(one.real) + open_end, wording.count(one.conversion),
            wording.count(one.simulated), _ratio(one.ratio), _ratio(one.ratio_paid),
        ])  # fmt: skip
    head = ["to see", f"difference/{per}", f"real test: {per}s an arm, by revenue",
            "an arm, by conversion", f"simulated pairs: {per}s", "variance paired/unpaired",
            "of what is paid"]  # fmt: skip
    return [
        f"A real test sends each visitor to one of two arms and counts what is paid; it sees the "
        f"difference with 80 % power at alpha 5 % after so many {per}s in each arm, if the "
        "difference is as large as estimated. The simulator shows both policies to the same "
        f"shoppers with the same noise: so many {per}s played by both do there. That is a saving "
        "of computing, not of visitors.",
        Table("", head, rows),
        Lines([crn_line(found)]),
    ]


def _ratio(value: float | None) -> str:
    return "-" if value is None else f"{value:.3f}"


def crn_line(found: Findings) -> str:
    """What common random numbers bring."""
    ratios = [one.ratio for one in found.trials.values() if one.ratio is not None]
    if not ratios:
        return "Common random numbers: no pair of policies differs."
    return (
        "Common random numbers: the variance of a paired difference is "
        f"{np.median(ratios):.3f} of the unpaired one, median over the winner's pairs (at most "
        f"{max(ratios):.3f}; goal: at most 0.5)."
    )


# ---- jobs ---------------------------------------------------------------------------------------


def _jobs(sweep: Sweep) -> list[Section]:
    parts: list[Section] = []
    if sweep.failed or sweep.unfinished:
        rows = [*_lost_rows(sweep.failed, "failed"), *_lost_rows(sweep.unfinished, "unfinished")]
        parts.append(
            Section(
                "Jobs without a result",
                [Table("", ["job", "state", "settings", "why"], rows, wraps=True)],
            )
        )
    rows = [[run.name, run.agent, _given(run.overrides)] for run in sweep.runs]
    parts.append(
        Section("Jobs that are over", [Table("", ["job", "agent", "settings"], rows, wraps=True)])
    )
    return parts


def _lost_rows(lost: Sequence[Lost], state: str) -> list[list[str]]:
    return [[one.name, state, _given(one.overrides), one.sentence] for one in lost]


def _given(overrides: dict[str, str]) -> str:
    return ", ".join(f"{key}={value}" for key, value in overrides.items()) or "-"
