"""agents.ads.front: ad revenue against satisfaction, by hand and as a picture."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from agents.ads.front import AD_REVENUE, PICTURE, SATISFACTION, front, fronts
from agents.board import show_front
from agents.logger import Logger

# some ads are as good as none to shoppers; `a` brings more at less harm than `b`
POINT = {"ad_none": (0.0, 0.0), "ad_greedy": (-1.0, 3.0), "a": (-0.5, 2.0), "b": (-0.6, 1.0)}


def policies() -> dict[str, Any]:
    """As a summary has them, in one shop."""
    return {
        name: {
            "learned": {
                metric: {"mean": mean, "low": mean - 0.1, "high": mean + 0.1}
                for metric, mean in zip((SATISFACTION, AD_REVENUE), both, strict=True)
            },
            "true": None,
        }
        for name, both in POINT.items()
    }


def test_the_front_of_a_run_by_hand() -> None:
    # Why: (0.5 above greedy's satisfaction) x 2 is all that is covered: greedy is the corner, and
    # no ads bring nothing.
    found = front(POINT)
    assert found["policies"] == ["ad_none", "ad_greedy", "a"]
    assert found["worst"] == {SATISFACTION: -1.0, AD_REVENUE: 0.0}
    assert found["hypervolume"] == pytest.approx(1.0)


def test_a_run_leaves_its_front_as_a_picture(tmp_path: Path) -> None:
    # Why: it is what a platform decides by; a file that nobody can open, or a chart that lacks a
    # policy, shows in neither table nor log.
    rows = policies()
    summary = {"policies": rows, "front": fronts(rows, ["learned"])}
    with Logger(tmp_path) as logger:
        show_front(logger, summary)
    assert (tmp_path / PICTURE).read_bytes().startswith(b"\x89PNG")
    events = EventAccumulator(str(tmp_path))
    events.Reload()
    assert "front" in events.Tags()["images"]
    (volume,) = events.Scalars("front/learned_hypervolume")
    assert volume.value == pytest.approx(1.0)
