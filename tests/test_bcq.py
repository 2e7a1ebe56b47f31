"""agents.bcq: what passes the clone's gate, by hand, in acting and in the target alike."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from probe_model import ITEMS, MODEL, SLOTS, SPEC, first_pages
from test_dqn import constant, one_row

from agents.bcq import BCQ, passing


def agent_of(**changed: Any) -> BCQ:
    settings: dict[str, Any] = {
        "user_model": MODEL,
        "num_features": SPEC.num_features,
        "num_slots": SLOTS,
        "views_I": torch.arange(ITEMS),
        "cart_paid": 0.0,
        "hidden": 32,
    }
    return BCQ(**{**settings, **changed})


@pytest.mark.parametrize(
    ("threshold", "slots", "expected"),
    [
        (0.3, 1, [True, False, True, False]),  # 0.3 * 0.5 = 0.15: 0.12 falls short, 0.36 does not
        (0.2, 1, [True, True, True, False]),
        (0.3, 3, [True, True, True, False]),  # the three likeliest fill the page
        (1.0, 1, [True, False, False, False]),
        (0.0, 1, [True, True, True, True]),
    ],
)
def test_what_passes_by_hand(threshold: float, slots: int, expected: list[bool]) -> None:
    # Why: the rule is relative to the likeliest item, here 0.5; the others have 0.12, 0.36, 0.02.
    logit = torch.tensor([[0.5, 0.12, 0.36, 0.02]]).log() + 7.0
    assert passing(logit, threshold, slots)[0].tolist() == expected


def test_what_may_not_be_shown_passes_nowhere() -> None:
    # Why: where fewer items than slots are left, -inf would be among the likeliest.
    logit = torch.tensor([[0.0, -torch.inf, -torch.inf]])
    assert passing(logit, 0.0, 2)[0].tolist() == [True, False, False]


def test_it_shows_the_best_of_what_the_log_would() -> None:
    # Why: items have 1 to 20 of the clone's 210 parts, so those with 11 and more pass a half: 10 to
    # 19. All appeal alike, so the best slate holds the highest values, of these or of all.
    taste = torch.tensor([1.0, -1.0, 0.5, 0.0, 1.0, -0.5])
    value = MODEL.tables.vector_ID @ taste
    best = set(value.topk(SLOTS).indices.tolist())
    passed = {10 + i for i in value[10:].topk(SLOTS).indices.tolist()}
    assert best != passed
    for threshold, expected in ((0.5, passed), (0.0, best)):
        agent = agent_of(threshold=threshold)
        with torch.no_grad():
            for parameter in agent.network.parameters():
                parameter.zero_()
            agent.network.taste.bias.copy_(taste)
        assert set(agent.act(first_pages(5))[0].tolist()) == expected


@pytest.mark.parametrize(("threshold", "error"), [(0.0, 2.06), (0.5, 2.54)])
def test_the_target_by_hand(threshold: float, error: float) -> None:
    # Why: a target of items that the log never shows is where values run away. Without a gate it is
    # that of test_dqn: item 1 by the online network, 1 + 0.5 * 4.12 - 1. Item 1 has one part
    # against item 0's hundred: with the gate item 0 is left, 0.4 + 0.6 * (5 + 0.4 * 7) = 5.08.
    views = torch.ones(ITEMS)
    views[:2] = torch.tensor([99.0, 0.0])
    agent = agent_of(num_slots=1, threshold=threshold, views_I=views)
    constant(agent)
    row = one_row(0.5) | {"shown": torch.tensor([[-1]])}
    found = agent._update(row)
    assert found["td_error"].item() == pytest.approx(error, abs=1e-5)
    assert found["passing"].item() == (1.0 if threshold == 0.0 else 0.5)
