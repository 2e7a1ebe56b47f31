"""agents.cql: the conservative term by hand, and what it does to items that are never shown."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from probe_model import ITEMS, MODEL, SLOTS, SPEC

from agents.cql import CQL, conservative
from recgym.envs.core import ShopCore


def agent_of(**changed: Any) -> CQL:
    settings: dict[str, Any] = {
        "user_model": MODEL,
        "num_features": SPEC.num_features,
        "num_slots": SLOTS,
        "cart_paid": 0.0,
        "batch_size": 64,
        "learning_starts": 64,
        "hidden": 32,
        "learning_rate": 3e-3,
    }
    return CQL(**{**settings, **changed})


def test_the_conservative_term_by_hand() -> None:
    # Why: equation 4. Values log 1, log 2 and log 5 have log 8; the page shows the last two, whose
    # mean is log(10) / 2: log 8 - 1.151293 = 0.928149. An empty page has no term.
    value = torch.tensor([[1.0, 2.0, 5.0], [9.0, 9.0, 9.0]]).log()
    filled = torch.tensor([[True, True, False], [False, False, False]])
    shown = torch.stack([value[0, [2, 1, 0]], value[1]])
    assert conservative(value, shown, filled, 3).item() == pytest.approx(0.928149, abs=1e-6)
    # of a catalogue of six, each of the three drawn stands for two: log 2 more
    found = conservative(value, shown, filled, 6).item()
    assert found == pytest.approx(0.928149 + 0.693147, abs=1e-6)


def played(agent: CQL, updates: int) -> CQL:
    """Pages of the first ten items alone; a click pays nothing, whatever it is."""
    core = ShopCore(SPEC, lambda outcome: 0.0 * outcome.revenue, num_envs=128, max_pages=5)
    observation = core.reset(0)
    generator = torch.Generator().manual_seed(0)
    for _ in range(updates):
        item_NK = torch.rand(128, 10, generator=generator).argsort(-1)[:, :SLOTS]
        transition = core.step(item_NK)
        agent.learn(observation, item_NK, transition)
        observation = transition.observation
    return agent


def test_what_is_compared_is_of_the_page_s_own_state() -> None:
    # Why: values of the items shown must be taken before the click, and so must the others'.
    agent = played(agent_of(learning_starts=10**6, num_candidates=ITEMS), 2)
    rows = agent.replay.rows
    assert rows["compared"].shape[1] == ITEMS + SLOTS
    assert bool((rows["compared"][:256, :ITEMS].sort(-1).values == torch.arange(ITEMS)).all())
    assert bool((rows["compared"][:256, ITEMS:] < 10).all()) and bool(rows["filled"][:256].all())
    assert rows["compared_sold"].shape == (agent.replay.capacity, ITEMS + SLOTS, 4)


@pytest.mark.parametrize(("conservatism", "trusting"), [(0.0, True), (1.0, False)])
def test_what_the_log_never_shows_is_not_believed(conservatism: float, trusting: bool) -> None:
    # Why: this is all that tells it from DQN. Nothing pays anything, so that nothing but the term
    # can part the items that are shown from those that are not.
    agent = played(agent_of(conservatism=conservatism, gamma=0.0), 80)
    with torch.no_grad():
        taste_ND = agent.network(torch.zeros(1, SPEC.num_features)).taste
        like_I = (taste_ND @ MODEL.tables.vector_ID.T)[0]
    apart = float(like_I[:10].mean() - like_I[10:].mean())
    assert (abs(apart) < 0.1) if trusting else (apart > 0.2), apart
