"""The report's figures."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from html import escape

import numpy as np

from agents.ads.front import front
from experiments.reporting.arenas import AGENT
from experiments.reporting.curves import TAGS, Curve
from experiments.reporting.findings import Findings, Standing
from experiments.reporting.sampling import Interval
from experiments.reporting.svg import CHARACTER, Mark, Plot, around, percent, tidy
from recgym.ads.metrics import on_front

ROW = 26  # pixels of a policy
MOST_CURVES = 8  # in colour; more cannot be told apart
WIDEST_NAME = 260
MOST_VALUES = 12  # of a swept setting in a map


@dataclass(frozen=True)
class Figure:
    """A drawing with what it shows, for the page."""

    name: str  # of its element
    title: str
    svg: str
    note: str
    legend: tuple[tuple[str, int], ...] = ()  # name and colour; -1 is faint


def colours(found: Findings) -> dict[str, int]:
    """A colour for each trained candidate, by its rank; the others are faint."""
    trained = [one.name for one in found.standings if one.candidate.kind == AGENT]
    return {name: rank if rank < MOST_CURVES else -1 for rank, name in enumerate(trained)}


def ranking(found: Findings) -> Figure:
    """Lifts with their intervals, the best above; hollow what the learned shop claims."""
    unit = found.arena.unit
    what = "earnings" if found.arena.ads else "revenue"
    claims = any(one.claim for one in found.standings)
    svg = _spans(
        found,
        f"Incremental {what} a {unit} of each policy",
        f"incremental {what} a {unit}, 95 % interval",
        lambda one: one.lift,
        (lambda one: one.claim) if claims else None,
        tidy,
    )
    note = f"Above {found.arena.nothing}, in the {found.arena.deciding} shop."
    note += " Hollow: what the learned shop claims." if claims else ""
    return Figure("ranking", f"Ranking by {what} a {unit}", svg, note)


def converting(found: Findings) -> Figure:
    """Conversion with its intervals, in the order of the ranking."""
    svg = _spans(
        found, "Conversion rate of each policy", "conversion rate, 95 % interval",
        lambda one: one.values["conversion"], None, percent,
    )  # fmt: skip
    note = "Sessions with an order, in the same order of policies."
    return Figure("conversion", "Conversion", svg, note)


def _spans(
    found: Findings,
    title: str,
    label: str,
    value: Callable[[Standing], Interval],
    other: Callable[[Standing], Interval | None] | None,
    form: Callable[[float], str],
) -> str:
    rows, colour = found.standings, colours(found)
    ends = [x for one in rows for v in (value(one), other and other(one)) if v
            for x in (v.low, v.high)]  # fmt: skip
    left = int(min(WIDEST_NAME, 24 + CHARACTER * max(len(one.name) for one in rows)))
    height = ROW * len(rows) + 60
    across, up = around(ends), (-0.5, len(rows) - 0.5)
    plot = Plot(title, across, up, (560, height), (left, 16, 10, 50))
    plot.x_axis(label, form)
    plot.zero()
    for place, one in enumerate(rows):
        row, shown = len(rows) - 1 - place, value(one)
        plot.row_label(row, one.name, bold=one is found.winner)
        claim = other(one) if other else None
        if claim:
            said = f"{one.name}, the learned shop's claim: {_said(claim, form)}"
            plot.span(row, (claim.low, claim.high), claim.mean, -1, said, hollow=True, shift=5)
        said = f"{one.name}: {_said(shown, form)}"
        shift = -3.0 if claim else 0.0
        ends_of = (shown.low, shown.high)
        plot.span(row, ends_of, shown.mean, colour.get(one.name, -1), said, shift=shift)
    return plot.svg()


def _said(value: Interval, form: Callable[[float], str]) -> str:
    return f"{form(value.mean)}, 95 % from {form(value.low)} to {form(value.high)}"


def learning(found: Findings, curves: Mapping[str, Mapping[str, Curve]]) -> list[Figure]:
    """Interquartile means over seeds, with their bands."""
    colour, figures = colours(found), []
    for tag, by_name in curves.items():
        shown = {name: by_name[name] for name in colour if name in by_name}
        steps = [x for curve in shown.values() for x in (curve.step[0], curve.step[-1])]
        ends = np.concatenate([np.concatenate([c.low, c.high]) for c in shown.values()])
        plot = Plot(f"Learning curves: {TAGS[tag]}", around(steps, 0.02), around(ends.tolist()))
        plot.x_axis("environment steps", tidy)
        plot.y_axis(TAGS[tag], tidy)
        for name, curve in shown.items():
            if curve.num_seeds > 1:
                plot.band(
                    curve.step.tolist(), curve.low.tolist(), curve.high.tolist(), colour[name]
                )
        for name, curve in shown.items():
            said = f"{name}: {tidy(float(curve.middle[-1]))} at the end"
            plot.path(curve.step.tolist(), curve.middle.tolist(), colour[name], said)
        most = max(curve.num_seeds for curve in shown.values())
        note = (
            f"Interquartile mean over up to {most} seeds with its 95 % bootstrap band; below four "
            "seeds the plain mean. While exploring, in the learned shop: not what a policy earns."
            if most > 1
            else "One seed each, so no band. While exploring, in the learned shop: not what a "
            "policy earns."
        )
        legend = tuple((name, colour[name]) for name in shown)
        name = "curve-" + tag.partition("/")[2].replace("_", "-")
        figures.append(Figure(name, f"Learning curves: {TAGS[tag]}", plot.svg(), note, legend))
    return figures


def pareto(found: Findings) -> list[Figure]:
    """Conversion against money; with ads, load and the shoppers' satisfaction against it too."""
    rows = found.deployable
    money = f"{'earnings' if found.arena.ads else 'revenue'} a {found.arena.unit}"
    aims = ["conversion", "money", *(["load"] if found.arena.ads else [])]
    sign = {"load": -1.0}
    best = on_front(
        [tuple(sign.get(key, 1.0) * one.values[key].mean for key in aims) for one in rows]
    )
    others = [("conversion", "conversion rate")]
    if found.arena.ads:
        others.append(("load", "ad load"))
    whole = ", ".join(["revenue" if not found.arena.ads else "earnings", *(x for _, x in others)])
    figures = [
        _scatter(found, best, Aim(key, label, percent), Aim("money", money, tidy), whole)
        for key, label in others
    ]
    if "satisfaction" in found.winner.values:
        figures.append(_content(found))
    return figures


@dataclass(frozen=True)
class Aim:
    """A value of each policy, as an axis."""

    key: str  # in the values of a standing
    label: str
    form: Callable[[float], str]


def _content(found: Findings) -> Figure:
    """Ad revenue against the shoppers' satisfaction, and the area that the policies cover."""
    across = Aim("satisfaction", "satisfaction a page", tidy)
    up = Aim("ad_revenue", "ad revenue a session", tidy)
    point = {
        one.name: (one.values[across.key].mean, one.values[up.key].mean) for one in found.deployable
    }
    covered = front(point)
    best = [name in covered["policies"] for name in point]
    figure = _scatter(found, best, across, up, "ad revenue and satisfaction")
    worst = covered["worst"]["satisfaction"]
    area = f" Hypervolume above no ad revenue and a satisfaction of {tidy(worst)}: "
    return replace(figure, note=f"{figure.note}{area}{covered['hypervolume']:.3g}.")


def _scatter(found: Findings, best: Sequence[bool], across: Aim, up: Aim, whole: str) -> Figure:
    colour, rows = colours(found), found.deployable
    xs, ys = ([one.values[aim.key].mean for one in rows] for aim in (across, up))
    plot = Plot(
        f"Pareto front: {up.label} against {across.label}",
        around(xs, 0.15), around(ys, 0.15), (560, 340),
    )  # fmt: skip
    plot.x_axis(across.label, across.form)
    plot.y_axis(up.label, up.form)
    chosen = sorted((x, y) for x, y, on in zip(xs, ys, best, strict=True) if on)
    plot.front([x for x, _ in chosen], [y for _, y in chosen])
    marks = []
    for one, x, y, on in zip(rows, xs, ys, best, strict=True):
        said = f"{one.name}: {across.label} {across.form(x)}, {up.label} {up.form(y)}"
        marks.append(Mark((x, y), colour.get(one.name, -1), one.name, said, hollow=not on))
    plot.points(marks)
    names = ", ".join(one.name for one, on in zip(rows, best, strict=True) if on)
    note = (
        f"Filled: no other policy is at least as good in {whole} at once ({names}). Intervals: see "
        "the ranking."
    )
    name = "pareto" if across.key == "conversion" else f"pareto-{across.key}"
    return Figure(name, f"Pareto front: {up.label} and {across.label}", plot.svg(), note)


def heat(cells: Mapping[tuple[str, str], float], names: tuple[str, str], what: str) -> Figure:
    """A value by two swept settings; the darker the more."""
    columns, rows = _in_order(a for a, _ in cells), _in_order(b for _, b in cells)
    left = int(min(WIDEST_NAME, 28 + CHARACTER * max(len(row) for row in rows)))
    size = (max(280, left + 110 * len(columns)), 44 * len(rows) + 56)
    across, up = (-0.5, len(columns) - 0.5), (-0.5, len(rows) - 0.5)
    plot = Plot(f"{what} by {names[0]} and {names[1]}", across, up, size, (left, 8, 8, 48))
    low, high = min(cells.values()), max(cells.values())
    for (a, b), value in cells.items():
        share = 0.06 + 0.44 * ((value - low) / (high - low) if high > low else 0.5)
        said = f"{names[0]}={a}, {names[1]}={b}: {value:+.4f}"
        plot.cell(columns.index(a), len(rows) - 1 - rows.index(b), share, f"{value:+.3f}", said)
    for number, column in enumerate(columns):
        plot.column_label(number, column)
    for number, row in enumerate(rows):
        plot.row_label(len(rows) - 1 - number, row)
    plot.x_label(names[0])
    note = f"{what}, mean over seeds and whatever else was swept; rows: {names[1]}."
    return Figure("heat", f"{what} by {names[0]} and {names[1]}", plot.svg(), note)


def fills_a_map(cells: Mapping[tuple[str, str], float]) -> bool:
    """Whether a map of these cells can be read and is at least half full."""
    columns, rows = _in_order(a for a, _ in cells), _in_order(b for _, b in cells)
    most = max(len(columns), len(rows), 1)
    return most <= MOST_VALUES and 2 * len(cells) >= len(columns) * len(rows) > 1


def _in_order(values: Iterable[str]) -> list[str]:
    """Each value once; numbers by their size, words as they came."""
    found = list(dict.fromkeys(values))
    try:
        return sorted(found, key=float)
    except ValueError:
        return found


def html_of(figure: Figure, prefix: str = "") -> str:
    """The figure with its title, legend and note."""
    keys = "".join(
        f'<span class="key"><i style="background:var(--{"faint" if c < 0 else f"c{c % 8}"})"></i>'
        f"{escape(name)}</span>"
        for name, c in figure.legend
    )
    legend = f'<div class="legend">{keys}</div>' if keys else ""
    return (
        f'<figure id="{prefix}{figure.name}"><figcaption><b>{escape(figure.title)}</b>'
        f"</figcaption>{figure.svg}{legend}<p>{escape(figure.note)}</p></figure>"
    )
