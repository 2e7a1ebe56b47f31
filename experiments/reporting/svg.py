"""Small figures as SVG text: colours are those of the page, so that light and dark both serve."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from html import escape

import numpy as np
from matplotlib.ticker import MaxNLocator

NUM_COLOURS = 8  # --c0 to --c7 of page.css
CHARACTER = 6.6  # pixels of a label's letter, about
LINE = 13.0  # pixels from one name to the next


@dataclass(frozen=True)
class Mark:
    """A named dot."""

    at: tuple[float, float]
    colour: int
    name: str
    said: str  # where the mouse rests on it
    hollow: bool = False


class Plot:
    """Two axes and what is drawn on them, in pixels.

    Args:
        title: read out by screen readers.
        across, up: least and greatest value of each axis.
        size: width and height of the whole figure.
        margin: left, right, top and bottom of the axes.
    """

    def __init__(
        self,
        title: str,
        across: tuple[float, float],
        up: tuple[float, float],
        size: tuple[int, int] = (560, 300),
        margin: tuple[int, int, int, int] = (64, 16, 12, 44),
    ) -> None:
        self.title, self.across, self.up, self.size = title, _wide(across), _wide(up), size
        self.left, self.right = margin[0], size[0] - margin[1]
        self.top, self.bottom = margin[2], size[1] - margin[3]
        self.parts: list[str] = []

    def x(self, value: float) -> float:
        """Pixels from the left."""
        low, high = self.across
        return self.left + (value - low) / (high - low) * (self.right - self.left)

    def y(self, value: float) -> float:
        """Pixels from the top."""
        low, high = self.up
        return self.bottom - (value - low) / (high - low) * (self.bottom - self.top)

    # ---- axes -----------------------------------------------------------------------------------

    def x_axis(self, label: str, form: Callable[[float], str]) -> None:
        """Ticks below, with lines."""
        for value in ticks(self.across, 6):
            place = self.x(value)
            self._line(place, self.top, place, self.bottom, "grid")
            self._text(place, self.bottom + 16, form(value), "middle")
        self.x_label(label)

    def x_label(self, label: str) -> None:
        """What the axis below holds."""
        self._text((self.left + self.right) / 2, self.bottom + 36, label, "middle", "label")

    def y_axis(self, label: str, form: Callable[[float], str]) -> None:
        """Ticks at the left, with lines."""
        for value in ticks(self.up, 5):
            place = self.y(value)
            self._line(self.left, place, self.right, place, "grid")
            self._text(self.left - 8, place + 4, form(value), "end")
        middle = (self.top + self.bottom) / 2
        turned = f' transform="rotate(-90 14 {middle:.1f})"'
        self._text(14, middle, label, "middle", "label", turned)

    def row_label(self, row: float, label: str, bold: bool = False) -> None:
        """A name at the left of a row."""
        self._text(self.left - 8, self.y(row) + 4, label, "end", "name bold" if bold else "name")

    def column_label(self, column: float, label: str) -> None:
        """A name below a column."""
        self._text(self.x(column), self.bottom + 16, label, "middle", "name")

    def zero(self) -> None:
        """A line where the axis across is 0."""
        if self.across[0] <= 0.0 <= self.across[1]:
            self._line(self.x(0.0), self.top, self.x(0.0), self.bottom, "zero")

    # ---- marks ----------------------------------------------------------------------------------

    def span(
        self, row: float, ends: tuple[float, float], mean: float, colour: int, said: str,
        hollow: bool = False, shift: float = 0.0,
    ) -> None:  # fmt: skip
        """An interval that lies, and its mean."""
        y, style = self.y(row) + shift, _colour(colour)
        line = self._made_line(self.x(ends[0]), y, self.x(ends[1]), y, "span")
        kind = "hollow" if hollow else "dot"
        dot = f'<circle cx="{self.x(mean):.1f}" cy="{y:.1f}" r="4.5" class="{kind}"/>'
        self._group(style, said, line + dot)

    def points(self, marks: Sequence[Mark]) -> None:
        """Named dots, their names moved apart."""
        taken: list[tuple[float, float, float]] = []  # left, right and height of each name
        for mark in sorted(marks, key=lambda one: -one.at[1]):
            x, y = self.x(mark.at[0]), self.y(mark.at[1])
            wide = 9 + CHARACTER * len(mark.name)
            over = x + wide > self.right
            left, right = (x - wide, x - 9) if over else (x + 9, x + wide)
            height = y - 7
            near = [h for a, b, h in taken if a < right and left < b]
            while any(abs(height - h) < LINE for h in near):
                height += 1.0
            taken.append((left, right, height))
            kind = "hollow" if mark.hollow else "dot"
            dot = f'<circle cx="{x:.1f}" cy="{y:.1f}" r="5" class="{kind}"/>'
            anchor, place = ("end", right) if over else ("start", left)
            text = (
                f'<text x="{place:.1f}" y="{height:.1f}" text-anchor="{anchor}">'
                f"{escape(mark.name)}</text>"
            )
            self._group(_colour(mark.colour), mark.said, dot + text)

    def path(self, xs: Sequence[float], ys: Sequence[float], colour: int, said: str) -> None:
        """A line."""
        self._group(_colour(colour), said, f'<path d="{self._through(xs, ys)}" class="curve"/>')

    def band(
        self, xs: Sequence[float], low: Sequence[float], high: Sequence[float], colour: int
    ) -> None:
        """The area between two lines."""
        back = self._through(list(xs)[::-1], list(low)[::-1]).replace("M", "L", 1)
        self.parts.append(
            f'<path d="{self._through(xs, high)}{back}Z" class="band" style="{_colour(colour)}"/>'
        )

    def front(self, xs: Sequence[float], ys: Sequence[float]) -> None:
        """A dashed line through the best."""
        self.parts.append(f'<path d="{self._through(xs, ys)}" class="front"/>')

    def cell(self, column: int, row: int, share: float, label: str, said: str) -> None:
        """A square of a heat map, ``share`` of its colour."""
        x, y = self.x(column - 0.5), self.y(row + 0.5)
        width, height = self.x(column + 0.5) - x, self.y(row - 0.5) - y
        box = (
            f'<rect x="{x + 1:.1f}" y="{y + 1:.1f}" width="{width - 2:.1f}" '
            f'height="{height - 2:.1f}" rx="3" class="cell" fill-opacity="{share:.3f}"/>'
        )
        text = (
            f'<text x="{x + width / 2:.1f}" y="{y + height / 2 + 4:.1f}" text-anchor="middle" '
            f'class="in-cell">{escape(label)}</text>'
        )
        self._group("", said, box + text)

    # ---- text -----------------------------------------------------------------------------------

    def svg(self) -> str:
        """The figure."""
        width, height = self.size
        return (
            f'<svg viewBox="0 0 {width} {height}" width="{width}" role="img" '
            f'aria-label="{escape(self.title, quote=True)}">{"".join(self.parts)}</svg>'
        )

    def _through(self, xs: Sequence[float], ys: Sequence[float]) -> str:
        points = [f"{self.x(x):.1f} {self.y(y):.1f}" for x, y in zip(xs, ys, strict=True)]
        return "M" + "L".join(points)

    def _group(self, style: str, said: str, content: str) -> None:
        self.parts.append(f'<g style="{style}"><title>{escape(said)}</title>{content}</g>')

    def _made_line(self, x1: float, y1: float, x2: float, y2: float, kind: str) -> str:
        ends = f'x1="{x1:.1f}" y1="{y1:.1f}" x2="{x2:.1f}" y2="{y2:.1f}"'
        return f'<line {ends} class="{kind}"/>'

    def _line(self, x1: float, y1: float, x2: float, y2: float, kind: str) -> None:
        self.parts.append(self._made_line(x1, y1, x2, y2, kind))

    def _text(
        self, x: float, y: float, text: str, anchor: str, kind: str = "tick", more: str = ""
    ) -> None:
        self.parts.append(
            f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}" class="{kind}"{more}>'
            f"{escape(text)}</text>"
        )


def ticks(ends: tuple[float, float], count: int) -> list[float]:
    """Round values between two ends."""
    found = MaxNLocator(count, steps=[1, 2, 2.5, 5, 10]).tick_values(*ends)
    slack = 1e-9 * (ends[1] - ends[0])
    return [float(x) for x in found if ends[0] - slack <= x <= ends[1] + slack]


def around(values: Sequence[float], share: float = 0.06) -> tuple[float, float]:
    """The ends of an axis that holds these values, with some room."""
    known = [float(x) for x in values if np.isfinite(x)] or [0.0]
    low, high = min(known), max(known)
    room = (high - low) * share or abs(high) * 0.1 or 1.0
    return low - room, high + room


def tidy(value: float) -> str:
    """A tick's number without needless digits."""
    if value == 0 or not math.isfinite(value):
        return "0"
    return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.4g}"


def percent(value: float) -> str:
    """A tick's share."""
    return f"{tidy(100.0 * value)}%"


def _wide(ends: tuple[float, float]) -> tuple[float, float]:
    return ends if ends[1] > ends[0] else (ends[0] - 0.5, ends[0] + 0.5)


def _colour(number: int) -> str:
    return f"color:var(--c{number % NUM_COLOURS})" if number >= 0 else "color:var(--faint)"
