"""agents.ads.spans: the first session, 30 days and all of them, by hand and against the sums."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
import torch
from ad_shop import Always, core_of

from agents.ads.rules import FixedSlots
from agents.ads.spans import Spans, spans_of, spans_table
from agents.ads.valuing import FIXED, play
from recgym.types import DAY_MS

CPU = torch.device("cpu")


def page(spans: Spans, day: float, session: int, number: int, ads: int, pays: float) -> None:
    """A page of the only shopper: two slots, which sell 10."""
    whole = torch.tensor([1])
    visit = SimpleNamespace(
        time_ms=torch.tensor([int(day * DAY_MS)]),
        page_number=whole * number,
        past=SimpleNamespace(sessions=whole * session),
    )
    brought: Any = SimpleNamespace(
        outcome=SimpleNamespace(impressions=2.0 * whole, revenue=10.0 * whole),
        campaign=torch.tensor([[0] * ads + [-1] * (2 - ads)]),
        ad_revenue=lambda: torch.tensor([pays], dtype=torch.float64),
    )
    seen: Any = SimpleNamespace(base=SimpleNamespace(visit=visit))
    lanes: Any = None
    spans.add(torch.tensor([0]), lanes, seen, brought)


def test_spans_by_hand() -> None:
    # Why: a session of two pages on day 5, one on day 20, one on day 36: the third is not within
    # 30 days of the first page, which is not day 0.
    spans = Spans(1, CPU)
    page(spans, 5.0, 0, 0, 1, 0.5)
    page(spans, 5.01, 0, 1, 0, 0.0)
    page(spans, 20.0, 1, 0, 2, 1.0)
    page(spans, 36.0, 2, 0, 0, 0.25)
    found = {
        span: [float(row[key][0]) for key in ("ad_revenue", "revenue", "sessions", "pages")]
        for span, row in spans.pairs().items()
    }
    assert found == {
        "first_session": [0.5, 20.0, 1.0, 2.0],
        "30_days": [1.5, 30.0, 2.0, 3.0],
        "all": [1.75, 40.0, 3.0, 4.0],
    }
    loads = [row["ad_load"] for row in spans.pairs().values()]
    assert [float(a / b) for a, b in loads] == pytest.approx([1 / 4, 3 / 6, 3 / 8])
    assert float(spans.pairs()["first_session"]["came_back"][0]) == 1.0


def test_what_all_sessions_bring_is_what_the_statistics_say() -> None:
    # Why: two ways to count the same pages must agree to the last digit, with lanes refilled; and
    # a policy beside itself differs by nothing.
    core = core_of("strong", 4, num_sessions=3)
    seed_B = torch.arange(6)
    runs = {}
    for name, policy in ((FIXED, FixedSlots([1])), ("both", Always(3))):
        spans = Spans(6, CPU)
        stats = play(core.platform, policy, seed_B, core.max_pages, spans.add)
        pairs = spans.pairs()["all"]
        assert torch.equal(pairs["ad_revenue"][0], stats.ad_revenue())
        assert torch.equal(pairs["sessions"][0], stats.sessions.double())
        assert torch.equal(pairs["ad_load"][1], stats.impressions.double())
        runs[name] = spans
    found = spans_of({"learned": runs}, 0)
    above = found["learned"][FIXED]["30_days"]["above"]["ad_revenue"]
    assert above == {"mean": 0.0, "low": 0.0, "high": 0.0}
    text = spans_table(found, "learned")
    assert "first session" in text and text.count("both") == 3
