"""What policies score: the page that they show is the best of it."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from probe_model import made
from probe_shop import learned_shop

from agents.baselines import Popular, Random, spread
from recgym.simulator import Simulator
from recgym.spaces import ObservationSpec

CONF = Path(__file__).resolve().parents[1] / "conf" / "agent"
NAMES = sorted(path.stem for path in CONF.glob("*.yaml") if not path.stem.startswith("ad_"))
ITEMS, SLOTS = 40, 3
MODEL = learned_shop()
SPEC = ObservationSpec(Simulator(MODEL, encoder=MODEL, num_slots=SLOTS), "encoder")
LANES = torch.arange(5)
OBSERVED = SPEC.observe(SPEC.simulator.reset(LANES, torch.zeros_like(LANES)))


@pytest.mark.parametrize("name", NAMES)
def test_the_page_shown_is_the_best_by_the_scores(name: str) -> None:
    # Why: the inspector says of a policy what it scored; other numbers than it acts by would lie.
    policy = made(name, MODEL, SPEC)
    score_NI, page_NK = policy.scores(OBSERVED), policy.act(OBSERVED)
    assert score_NI.shape == (5, ITEMS) and not bool(score_NI.isnan().any())
    # by value: some policies score a few items alike at first
    assert torch.equal(score_NI.gather(-1, page_NK), score_NI.topk(SLOTS, -1).values)


def test_popular_and_random_score_by_views_and_by_draws() -> None:
    # Why: every table holds them; by hand: the views themselves, and noise of the lane alone.
    views_I = torch.arange(ITEMS)
    assert Popular(views_I, num_slots=2).scores(OBSERVED)[1].tolist() == list(range(ITEMS))
    draw_NI = Random(num_slots=2).scores(OBSERVED)
    assert not torch.equal(draw_NI[0], draw_NI[1])
    assert torch.equal(draw_NI, Random(num_slots=9).scores(OBSERVED))


def test_scores_of_a_few_items_are_spread_over_all() -> None:
    # Why: -1 stands for no item, and must not lend its score to item 0 or to the last one.
    score_NI = spread(torch.tensor([[2, -1, 0]]), torch.tensor([[0.5, 9.0, -1.0]]), 4)
    assert score_NI.tolist() == [[-1.0, -torch.inf, 0.5, -torch.inf]]
