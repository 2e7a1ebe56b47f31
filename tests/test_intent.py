"""experiments.comparing.intent: who is asked, what may be looked at, and the figures by hand."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
import pytest
import torch
from family import log_of, made
from torch import Tensor

from experiments.comparing import intent
from experiments.comparing.intent import Asked, answered, asked, figures, opening, states, table
from recgym.fidelity.trace import Trace
from recgym.types import After, Event, Kind, Page, Sessions, Split

VIEW, PAY, LEAVE = int(Kind.VIEW), int(Kind.CHECKOUT), int(Kind.LEAVE)
NOTHING, CART, BUY = int(After.NOTHING), int(After.CART), int(After.BUY)


def log(*sessions: list[tuple[int, int]]) -> Sessions:
    """Sessions of steps of a kind and what follows, each closed by a leave step."""
    steps = [step for steps in sessions for step in [*steps, (LEAVE, NOTHING)]]
    kind, after = torch.tensor(steps).unbind(-1)
    length = torch.tensor([0, *(len(steps) + 1 for steps in sessions)])
    none, count = torch.zeros(len(steps)), len(sessions)
    event = Event(
        kind, torch.where(kind == VIEW, 0, -1), torch.full_like(kind, -1), after, none, none, none
    )
    page = Page(kind.new_zeros(len(steps), 0), torch.zeros(len(steps), 0))
    return Sessions(
        event, page, kind * 0, length.cumsum(0), torch.arange(count), torch.zeros(count, 0),
        torch.zeros(count, dtype=torch.int64),
    )  # fmt: skip


def test_who_is_asked_and_who_buys_afterwards_by_hand() -> None:
    # Why: the first bought within its five events and not after, the second pays at its sixth, the
    # third buys at once at its sixth, the fourth stops at its fifth, the fifth has four events.
    look, cart, buy, pay = (VIEW, NOTHING), (VIEW, CART), (VIEW, BUY), (PAY, NOTHING)
    sessions = log(
        [buy, look, look, look, look, look],
        [cart, look, look, look, look, pay],
        [look, look, look, look, look, buy],
        [look, look, look, look, buy],
        [look, look, look, buy],
    )
    ordered_S = Trace(sessions, np.zeros(len(sessions.event.kind))).ordered
    found = asked(sessions, ordered_S, torch.arange(5))
    assert found.row.tolist() == [0, 1, 2, 3]
    assert found.bought.tolist() == [False, True, True, False]
    begun = opening(sessions, found.row[1:2])
    assert begun.event.after.tolist() == [CART, NOTHING, NOTHING, NOTHING, NOTHING]
    assert begun.offset.tolist() == [0, 5] and begun.shopper.tolist() == [1]


@pytest.fixture(scope="module")
def long_log() -> tuple[Sessions, Tensor]:
    """A log, and its sessions of five events and more."""
    sessions = log_of(24)
    row_B = asked(sessions, np.zeros(len(sessions.event.kind), dtype=bool), torch.arange(24)).row
    assert len(row_B) > 2
    return sessions, row_B


def test_a_state_knows_five_events_and_no_more(long_log: tuple[Sessions, Tensor]) -> None:
    # Why: one look at the sixth event and the question is answered before it is asked.
    sessions, row_B = long_log
    model = made("gru")
    step_S = sessions.offset[row_B] + intent.FIRST
    page_SK, event = sessions.page.item.clone(), sessions.event
    page_SK[step_S] = -1
    changed = dataclasses.replace(
        sessions,
        event=dataclasses.replace(
            event,
            kind=event.kind.index_fill(0, step_S, PAY),
            item=event.item.index_fill(0, step_S, -1),
            after=event.after.index_fill(0, step_S, NOTHING),
            gap=event.gap.index_fill(0, step_S, 9.0),
        ),
        page=dataclasses.replace(sessions.page, item=page_SK),
    )
    x_BF = states(model, sessions, row_B)
    np.testing.assert_array_equal(states(model, changed, row_B), x_BF)
    # the fifth counts, and rows stand in the order asked for
    last_S = step_S - 1
    fifth = dataclasses.replace(event, item=event.item.index_fill(0, last_S, 7))
    assert (states(model, dataclasses.replace(sessions, event=fifth), row_B) != x_BF).any()
    np.testing.assert_allclose(states(model, sessions, row_B.flip(0)), x_BF[::-1], atol=1e-12)


def test_figures_by_hand() -> None:
    # Why: of two who buy and two who do not three of four pairs stand in order; the precisions at
    # the two buyers are 1 and 2/3. Two buyers are forecast as 2.4, all in one bin: 0.4 / 4. Of 25
    # times as many there are two bins, off by (0.2 + 0.6 - 1) / 4 and (0.7 + 0.9 - 1) / 4.
    chance_B, bought_B = np.array([0.9, 0.7, 0.6, 0.2]), np.array([True, False, True, False])
    found = figures(chance_B, bought_B)
    assert found == pytest.approx({"roc_auc": 0.75, "pr_auc": 5 / 6, "ece": 0.1})
    many = figures(chance_B.repeat(25), bought_B.repeat(25))
    assert many == pytest.approx({"roc_auc": 0.75, "pr_auc": 5 / 6, "ece": 0.2})


def test_settings_are_chosen_on_the_second_part() -> None:
    # Why: chosen on the third, a setting would have seen the answers.
    class Constant:
        def __init__(self, chance: float) -> None:
            self.chance = chance

        def fit(self, x: Any, y: Any) -> Constant:
            self.size = len(y)
            return self

        def predict_proba(self, x: Any) -> Any:
            assert self.size in (4, 8)  # the first part alone, then the first two
            return np.tile([1 - self.chance, self.chance], (len(x), 1))

    parts = [Asked(torch.arange(4), np.arange(4) < few) for few in (2, 1, 3)]
    makers = [lambda chance=chance: Constant(chance) for chance in (0.25, 0.5, 0.75)]
    found = answered(makers, [np.zeros((4, 1))] * 3, parts)
    assert found.tolist() == [0.25] * 4


class Bare:
    """As much of a log as is asked of it."""

    def __init__(self, sessions: Sessions, catalog: Any) -> None:
        self.held, self.known = sessions, catalog
        self.steps = type("Steps", (), {"paid": np.zeros(len(sessions.event.kind))})

    def sessions(self) -> Sessions:
        return self.held

    def catalog(self) -> Any:
        return self.known

    def held_out(self) -> tuple[Tensor, int]:
        return (self.held.split == int(Split.TEST)).nonzero().squeeze(-1), 0


def test_what_carts_tell_is_found_by_both(monkeypatch: pytest.MonkeyPatch) -> None:
    # Why: where exactly those who carted early pay at their sixth event, whoever reads the five
    # events foresees every purchase; an area below 1 would say that they are not read.
    look, cart = (VIEW, NOTHING), (VIEW, CART)
    draw = np.random.default_rng(0)
    plans = []
    for number in range(90):
        steps = [look] * 5
        if number % 3 == 0:
            steps[int(draw.integers(5))] = cart
            steps.append((PAY, NOTHING))
        plans.append(steps)
    split_B = torch.tensor([int(Split.TRAIN), int(Split.VALID), int(Split.TEST)])
    sessions = dataclasses.replace(log(*plans), split=split_B.repeat_interleave(30))
    model = made("gru", dtype=torch.float32)
    sessions = dataclasses.replace(sessions, profile=torch.zeros(90, 2))
    monkeypatch.setattr(intent, "RESAMPLES", 20)
    said = intent.intent({"gru": model}, Bare(sessions, model.catalog), 0)  # type: ignore[arg-type]
    assert (said["sessions"], said["bought"]) == (30, 10)
    for name in ("gru", intent.BOOSTED):
        found = said["models"][name]
        assert found["roc_auc"] == pytest.approx({"mean": 1.0, "low": 1.0, "high": 1.0})
        assert found["ece"]["mean"] < 0.35
    text = table([said])
    assert text.startswith("10 of 30 held-out sessions of 5 events or more buy after event 5:")
    assert "| gru | 1.000 | " in text
    both = table([said, said])  # over two cells: the interval is of their means
    assert both.startswith("20 of 60 held-out sessions") and "beside" in both
    nobody = dataclasses.replace(
        sessions, event=dataclasses.replace(sessions.event, kind=sessions.event.kind.clamp(max=0))
    )
    said = intent.intent({"gru": model}, Bare(nobody, model.catalog), 0)  # type: ignore[arg-type]
    assert said["models"] == {} and table([said]).endswith("how well that is foreseen.")
