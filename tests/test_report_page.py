"""The report's page in a browser: nothing breaks, nothing is fetched, all figures are there."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import sweep_probe

from experiments.report import report

sync_api = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")
pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="no chromium on this machine")
QUIET = ["--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run",
         "--disable-background-networking", "--disable-component-update",
         "--disable-sync"]  # fmt: skip
FIGURES = 1 + 2 * 5  # a map; in each shop two rankings, a front and two curves


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    with sync_api.sync_playwright() as playwright:
        found = playwright.chromium.launch(executable_path=CHROMIUM, args=QUIET)
        yield found
        found.close()


@pytest.fixture(scope="module")
def page_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = sweep_probe.sweep(tmp_path_factory.mktemp("page"))
    report(folder)
    return folder / "report.html"


@pytest.fixture(scope="module", params=["light", "dark"])
def opened(request: pytest.FixtureRequest, browser: Any, page_file: Path) -> Iterator[Any]:
    """The page in one scheme, with what the browser complained of and asked for."""
    context = browser.new_context(
        color_scheme=request.param, viewport={"width": 1280, "height": 900}
    )
    page = context.new_page()
    said: list[str] = []
    page.on("console", lambda message: said.append(message.text))
    page.on("pageerror", lambda error: said.append(str(error)))
    asked: list[str] = []
    page.on("request", lambda call: asked.append(call.url))
    page.goto(page_file.as_uri())
    yield request.param, page, said, asked
    context.close()


def test_nothing_is_said_and_nothing_is_fetched(opened: Any, page_file: Path) -> None:
    # Why: it is opened from a mail, behind any wall.
    _, _, said, asked = opened
    assert said == []
    assert asked == [page_file.as_uri()]


def test_every_figure_is_there_and_has_a_name(opened: Any) -> None:
    # Why: a figure of no size is a hole, and one without a name is one to those who cannot see.
    _, page, _, _ = opened
    drawings = page.locator("figure svg[role=img]")
    assert drawings.count() == page.locator("figure").count() == FIGURES
    for number in range(FIGURES):
        one = drawings.nth(number)
        box = one.bounding_box()
        assert box["width"] > 200 and box["height"] > 80
        assert len(one.get_attribute("aria-label")) > 10
        assert one.locator("circle, path, rect").count() > 1


def test_the_answers_are_on_the_first_screen(opened: Any) -> None:
    # Why: who opens it has three questions and little time.
    _, page, _, _ = opened
    cards = page.locator(".card")
    assert cards.count() == 6
    for number in range(6):
        box = cards.nth(number).bounding_box()
        assert box["y"] + box["height"] <= 900
    assert cards.nth(0).locator(".short").inner_text() == "dqn"
    assert cards.nth(2).locator(".short").inner_text() == "+1.000 a session"


COLOURS = """() => {
  const rgb = (c) => c.match(/[0-9.]+/g).slice(0, 3).map(Number);
  const paper = rgb(getComputedStyle(document.body).backgroundColor);
  const light = (c) => { const s = c.map((x) => x / 255).map(
    (x) => x <= 0.04045 ? x / 12.92 : Math.pow((x + 0.055) / 1.055, 2.4));
    return 0.2126 * s[0] + 0.7152 * s[1] + 0.0722 * s[2]; };
  const apart = (a, b) => { const [x, y] = [light(a), light(b)].sort((p, q) => q - p);
    return (x + 0.05) / (y + 0.05); };
  const seen = [];
  for (const e of document.querySelectorAll("figure svg text"))
    seen.push(apart(rgb(getComputedStyle(e).fill), paper));
  for (const e of document.querySelectorAll("figure svg .curve, figure svg .span"))
    seen.push(apart(rgb(getComputedStyle(e).stroke), paper));
  const cells = [];
  for (const e of document.querySelectorAll("figure svg .in-cell")) {
    const box = getComputedStyle(e.previousSibling), share = Number(box.fillOpacity);
    const under = rgb(box.fill).map((x, i) => share * x + (1 - share) * paper[i]);
    cells.push(apart(rgb(getComputedStyle(e).fill), under));
  }
  const least = Math.min(...seen), cell = Math.min(...cells);
  return {paper: light(paper), cells: cell, least: least, count: seen.length};
}"""


def test_figures_can_be_read_in_light_and_dark(opened: Any) -> None:
    # Why: 3 to 1 is WCAG 2.1's least contrast of graphics (1.4.11); black on black is 1.
    scheme, page, _, _ = opened
    found = page.evaluate(COLOURS)
    assert found["count"] > 100
    assert (found["paper"] > 0.9) if scheme == "light" else (found["paper"] < 0.05)
    assert found["least"] >= 3.0
    assert found["cells"] >= 4.5  # the same standard's least of text (1.4.3)


def test_nothing_overflows_the_page(opened: Any) -> None:
    # Why: a table that is wider than the screen scrolls by itself, and not the page.
    _, page, _, _ = opened
    assert page.evaluate("document.documentElement.scrollWidth <= window.innerWidth")
