"""The scorecard as one HTML page: no script, no network, light and dark."""

from __future__ import annotations

from html import escape

from recgym.fidelity.opening import Run
from recgym.fidelity.plots import Picture, pictures
from recgym.fidelity.scorecard import Scorecard
from recgym.fidelity.verdicts import FAIL, PASS, Row
from recgym.fidelity.wording import interval, number, said, target

STYLE = """
:root { color-scheme: light dark; --ink: #1d2127; --paper: #ffffff; --line: #d5d9de;
  --faint: #5c6570; --red: #c0231d; --pale: #fbe4e2; --green: #1f7a3a; }
@media (prefers-color-scheme: dark) { :root { --ink: #e3e6ea; --paper: #15181c; --line: #363c44;
  --faint: #9aa3ad; --red: #ff7a70; --pale: #40191a; --green: #6fce8b; } }
body { font: 15px/1.5 system-ui, sans-serif; color: var(--ink); background: var(--paper);
  max-width: 76rem; margin: 2rem auto; padding: 0 1rem; }
h1 { font-size: 1.5rem; } h2 { font-size: 1.15rem; margin-top: 2.5rem; }
p, figcaption, .faint { color: var(--faint); }
.scroll { overflow-x: auto; }
table { border-collapse: collapse; width: 100%; font-variant-numeric: tabular-nums; }
th, td { padding: .3rem .6rem; border-bottom: 1px solid var(--line); text-align: right;
  white-space: nowrap; }
th:first-child, td:first-child, td:last-child, th:last-child { text-align: left; }
td:first-child { white-space: normal; }
tr.fail td { background: var(--pale); } tr.fail .verdict { color: var(--red); font-weight: 700; }
tr.fail td:first-child { color: var(--red); }
tr.pass .verdict { color: var(--green); }
.pictures { display: grid; grid-template-columns: repeat(auto-fill, minmax(20rem, 1fr));
  gap: 1.5rem; }
figure { margin: 0; } figure svg { width: 100%; height: auto; }
"""
HEAD = ("row", "simulated", "real", "value", "95 % interval", "noise floor", "target", "verdict")
HOW = (
    "Each row holds sessions that the learned shop played on its own against real ones that it "
    "never read. The noise floor is what the same statistic gives between two random halves of "
    "the real sessions, at the size at which the value is measured: its 95th percentile. A row "
    "passes where its value is at most the larger of target and floor (where more is better, at "
    "least the smaller of target and the floor's 5th percentile)."
)


def page(card: Scorecard, run: Run) -> str:
    """The whole page."""
    rows = "\n".join(_row(row) for row in card.rows)
    head = "".join(f"<th>{escape(name)}</th>" for name in HEAD)
    drawn = "\n".join(_figure(x) for x in pictures(card.compared.sides, card.forecasts))
    source = escape(str(run.summary["log"].get("source", run.log.folder)))
    return f"""<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>Scorecard of a learned shop</title>
<style>{STYLE}</style>
</head>
<body>
<h1>Scorecard of a learned shop</h1>
<p>{escape(card.headline())}.<br>Run {escape(str(run.folder))}; log: {source}.</p>
<div class="scroll"><table>
<thead><tr>{head}</tr></thead>
<tbody>
{rows}
</tbody>
</table></div>
<p>{HOW}</p>
<h2>Both sides, laid over each other</h2>
<div class="pictures">
{drawn}
</div>
</body>
</html>
"""


def _row(row: Row) -> str:
    kind = {PASS: "pass", FAIL: "fail"}.get(row.verdict, "faint")
    cells = [
        number(row.simulated, row.figure_form),
        number(row.real, row.figure_form),
        number(row.value, row.form),
        interval(row),
        number(row.floor, row.form),
        target(row),
    ]
    verdict, remark = said(row)
    note = f' <span class="faint">{escape(remark)}</span>' if remark else ""
    middle = "".join(f"<td>{escape(cell)}</td>" for cell in cells)
    return (
        f'<tr class="{kind}" id="{escape(row.name)}"><td>{escape(row.title)}</td>{middle}'
        f'<td><span class="verdict">{escape(verdict)}</span>{note}</td></tr>'
    )


def _figure(picture: Picture) -> str:
    return f"<figure>{picture.svg}<figcaption>{escape(picture.title)}</figcaption></figure>"
