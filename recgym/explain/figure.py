"""Explanations in the terminal, and as a figure."""

from __future__ import annotations

from html import escape

from rich import box
from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from recgym.explain.deletion import Explanation

BAR = 14  # characters of the longest bar
ROW, LEFT, REACH = 22, 210, 150  # pixels: of a row, of labels, of the longest bar to either side
TITLES = {
    "occlusion": "without the event",
    "integrated_gradients": "integrated gradients",
    "attention": "attention",
}


def explained_text(
    question: str, labels: list[str], explanations: list[Explanation]
) -> RenderableType:
    """A table of all methods: a row an event, and what each verdict is."""
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, show_edge=False)
    table.add_column("page", justify="right")
    table.add_column("event", no_wrap=True)
    for explanation in explanations:
        table.add_column(TITLES.get(explanation.method, explanation.method), no_wrap=True)
    for row, label in enumerate(labels):
        cells = [_bar(explanation, row) for explanation in explanations]
        table.add_row(str(row + 1), label, *cells)
    chance = explanations[0].log_prob
    heading = f"{question}: log-probability {chance:.3f}, to which each earlier event adds"
    verdicts = [
        Text(
            f"{TITLES.get(explanation.method, explanation.method)}: {explanation.verdict}",
            style="" if explanation.holds else "red",
        )
        for explanation in explanations
    ]
    return Group(Text(heading, style="bold"), table, Text(), *verdicts)


def _bar(explanation: Explanation, row: int) -> Text:
    value, largest = explanation.weights[row], _largest(explanation)
    length = round(BAR * abs(value) / largest)
    style = "green" if value > 0 else "red"
    return Text(f"{value:+.3f} ") + Text("█" * length, style=style)


def _largest(explanation: Explanation) -> float:
    return max((abs(value) for value in explanation.weights), default=0.0) or 1.0


def figure(labels: list[str], explanation: Explanation) -> str:
    """Bars as inline SVG, in the colours of the page that it stands on."""
    height, middle = ROW * len(labels), LEFT + REACH
    width, largest = LEFT + 2 * REACH + 70, _largest(explanation)
    title = escape(TITLES.get(explanation.method, explanation.method))
    parts = [
        f'<svg viewBox="0 0 {width} {height}" role="img" aria-label="{title}">',
        f'<line x1="{middle}" y1="0" x2="{middle}" y2="{height}" stroke="var(--line)"/>',
    ]
    for row, (label, value) in enumerate(zip(labels, explanation.weights, strict=True)):
        size = REACH * abs(value) / largest
        y, left = ROW * row, middle - (size if value < 0 else 0.0)
        colour = "var(--green)" if value >= 0 else "var(--red)"
        named = ' font-weight="700"' if row in explanation.named else ""
        parts += [
            f'<text x="0" y="{y + 15}" fill="currentColor" font-size="12"{named}>'
            f"{row + 1}. {escape(label)}</text>",
            f'<rect x="{left:.1f}" y="{y + 4}" width="{size:.1f}" height="{ROW - 8}" '
            f'fill="{colour}"/>',
            f'<text x="{middle + REACH + 8}" y="{y + 15}" fill="currentColor" font-size="12">'
            f"{value:+.3f}</text>",
        ]
    return "".join([*parts, "</svg>"])
