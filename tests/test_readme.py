"""The README is the product's face: its snippets run and its first screen is true."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from recgym.metrics import METRICS

README = (Path(__file__).resolve().parents[1] / "README.md").read_text(encoding="utf-8")
SNIPPETS = re.findall(r"```python\n(.*?)```", README, flags=re.DOTALL)


@pytest.mark.parametrize("number", range(len(SNIPPETS)))
def test_each_snippet_runs(number: int) -> None:
    # Why: a snippet that fails is the first thing a newcomer meets.
    exec(compile(SNIPPETS[number], f"README snippet {number}", "exec"), {})


def test_the_first_screen_shows_the_two_lines() -> None:
    # Why: the promise is two lines in a bare virtual environment.
    first_screen = "\n".join(README.splitlines()[:20])
    assert "pip install -e '.[dev]' && python -m agents.train" in first_screen
    assert "pip install -e '.[dev]' && pytest" in first_screen


def test_the_table_of_metrics_names_what_the_code_computes() -> None:
    # Why: a metric that the table explains must exist under that name, and none may be left over.
    named = set(re.findall(r"^\| `([a-z_]+)` \|", README, flags=re.MULTILINE))
    assert set(METRICS) - {"realised_revenue_per_session"} <= named


def test_no_placeholder_is_left() -> None:
    # Why: figures are filled in from a run, and a run must have happened.
    assert not re.search(r"\b(RESULT_TABLE|LIMITS\n|TODO|TBD)\b", README)
