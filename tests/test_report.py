"""recgym.users.report: the figures that say whether a user model may be believed, by hand."""

from __future__ import annotations

import dataclasses
import json
import math
from typing import Any

import numpy as np
import pytest
import torch
from probe_shop import START_MS, ProbeShop, ProbeState, learned_shop
from simulated_log import logging_policy, simulate
from torch import Tensor

from recgym import choice, visit
from recgym.simulator import Simulator
from recgym.types import After, Event, Kind, Page, Response, Sessions, Visit
from recgym.users import report
from recgym.users.base import after_log_probs, by_segment
from recgym.users.likelihood import cart_counts, gather_steps, walk
from recgym.users.passes import mean_nll
from recgym.users.report import (
    calibration_error,
    item_given_view,
    markov,
    mid_rank,
    popularity,
    predict,
    predictive_report,
    ranking,
    transitions,
    view_before,
)

F32, F64 = torch.float32, torch.float64
MODEL = learned_shop(F64)  # in single precision pairs that nearly tie would change places
ZERO = torch.zeros(1, dtype=torch.int64)


def sessions_of(*viewed: str) -> Sessions:
    """Sessions that view items 0 to 9, a dot being a checkout, each closed by its leave step."""
    kind, item, length = [], [], []
    for session in viewed:
        kind += [Kind.CHECKOUT if c == "." else Kind.VIEW for c in session] + [Kind.LEAVE]
        item += [-1 if c == "." else int(c) for c in session] + [-1]
        length.append(len(session) + 1)
    size = len(kind)
    none, zero = torch.full((size,), -1), torch.zeros(size)
    return Sessions(
        event=Event(
            torch.tensor([int(k) for k in kind]), torch.tensor(item), none, zero.long(), zero, zero,
            zero,
        ),
        page=Page(none[:, None][:, :0], zero[:, None][:, :0]),
        time_ms=torch.full((size,), START_MS),
        offset=torch.tensor([0, *np.cumsum(length).tolist()]),
        shopper=torch.arange(len(viewed)),
        profile=torch.zeros(len(viewed), 2),
        split=torch.zeros(len(viewed), dtype=torch.int64),
    )  # fmt: skip


def test_the_view_before_stays_in_its_session_and_skips_checkouts() -> None:
    # Why: a transition across shoppers is no behaviour of anybody.
    before = view_before(sessions_of("01.2", "33", ".4"))
    assert before.tolist() == [-1, 0, 1, 1, 2, -1, 3, 3, -1, -1, 4]


def test_rank_counts_equal_scores_by_half() -> None:
    # Why: a baseline that gives all items one score must not look as if it knew the answer.
    score = torch.tensor([[0.1, 0.4, 0.3, 0.2], [0.5, 0.2, 0.2, 0.1], [0.25, 0.25, 0.25, 0.25]])
    rank = mid_rank(score, torch.tensor([2, 1, 3]))
    assert rank.tolist() == [2.0, 2.5, 2.5]  # second; second or third; any of four


def test_recall_and_reciprocal_rank_by_hand() -> None:
    # Why: ranks 1, 4, 20 and 21: three of four are listed; (1 + 1/4 + 1/20) / 4 = 0.325.
    figures = ranking("", torch.log(torch.tensor([0.5, 0.25])), torch.tensor([1.0, 4, 20, 21]))
    assert figures["recall_at_20"] == 0.75
    assert figures["mrr_at_20"] == pytest.approx(0.325)
    assert figures["nll_next_view"] == pytest.approx(1.5 * math.log(2))


def test_popularity_is_smoothed() -> None:
    # Why: an item not yet viewed would have probability 0 and the baseline no likelihood.
    # 2, 1, 0 views and half a view each: 2.5, 1.5, 0.5 of 4.5
    share = popularity(torch.tensor([0, 1, 0]), 3)
    assert share.tolist() == pytest.approx([5 / 9, 3 / 9, 1 / 9])


def test_markov_shrinks_its_counts_to_popularity(monkeypatch: pytest.MonkeyPatch) -> None:
    # Why: by hand with a = 20 and p = (0.5, 0.3, 0.2); 0 was followed by 1 three times, by 2 once.
    count = transitions(torch.tensor([0, 0, 0, 0]), torch.tensor([1, 1, 2, 1]), 3)
    share = np.array([0.5, 0.3, 0.2])
    from_m, to_m = torch.tensor([0, 0, 2]), torch.tensor([1, 0, 2])
    for most in (report.MAX_LOGITS, 4):  # in one batch and in batches of one row
        monkeypatch.setattr(report, "MAX_LOGITS", most)
        log_prob, rank = markov(count, share, from_m, to_m)
        # (3 + 6) / 24, (0 + 10) / 24, and popularity itself after an item without successors
        assert log_prob.exp().tolist() == pytest.approx([9 / 24, 10 / 24, 0.2])
        assert rank.tolist() == [2, 1, 3]


def test_calibration_error_by_hand() -> None:
    # Why: two bins of two: (0.1, 0.2) never happens, (0.6, 0.7) half the time:
    # (|0.3 - 0| + |1.3 - 1|) / 4 = 0.15, though the mean forecast of 0.4 is off by 0.15 as well.
    chance, happened = torch.tensor([0.7, 0.1, 0.6, 0.2]), torch.tensor([1, 0, 0, 0])
    assert calibration_error(chance, happened, bins=2) == pytest.approx(0.15)
    # with the first bin too low and the second too high the mean hides the error, the bins do not
    happened = torch.tensor([0, 0, 1, 1])
    assert calibration_error(chance, happened, bins=2) == pytest.approx((0.7 + 0.3) / 4)
    assert calibration_error(chance, happened, bins=1) == pytest.approx(0.1)
    assert calibration_error(chance[:0], happened[:0]) is None


def test_an_item_viewed_may_come_from_its_slot_or_from_search() -> None:
    # Why: by hand, twin of 0.1 and slot of 0.2 at dissimilarity 1: the nest has mass 0.3, so that
    # the page adds 0.2 to a mass of 1 and item 3 has 0.3 / 1.2, the first item 0.4 / 1.2.
    shop = ProbeShop(appeal=0.2)
    shop.dissimilarity = torch.tensor(1.0)
    page, begun = Page(torch.tensor([[-1, 3]]), torch.ones(1, 2)), visit.begin(ZERO, 2, F32)
    expected = torch.tensor([[0.4, 0.3, 0.2, 0.3]]) / 1.2
    found = item_given_view(shop, ProbeState(torch.zeros(1)), page, begun)
    torch.testing.assert_close(found, expected)


def test_an_item_viewed_is_a_mean_over_those_who_view() -> None:
    # Why: by hand, a segment of 3/4 of the shoppers views with 1/3, one of 1/4 always; of those who
    # view they are half each, with a page that adds 0.2 to a mass of 1 for the one and nothing for
    # the other: item 3 has (0.3 / 1.2 + 0.1) / 2 = 0.175.
    class TwoKinds(ProbeShop):
        def segments(self, reading: ProbeState) -> tuple[Tensor, Any]:
            return torch.tensor([[0.75, 0.25]]), ProbeState(torch.tensor([0.0, 1.0]))

        def respond(self, state: ProbeState, page: Page, now: Visit) -> Response:
            two, kind_M = state.views == 0, super().respond(state, page, now)
            slot_MK = torch.where(two.unsqueeze(-1), kind_M.slot, -torch.inf)
            # with a page weight of 0, leaving at log 2 leaves a third
            leave_M = torch.where(two, math.log(2.0), -torch.inf)
            return dataclasses.replace(kind_M, slot=slot_MK, leave=leave_M)

    shop = TwoKinds(appeal=0.2)
    shop.dissimilarity, shop.page_weight = torch.tensor(1.0), torch.tensor(0.0)
    later = dataclasses.replace(visit.begin(ZERO, 2, F32), page_number=ZERO + 1)
    page = Page(torch.tensor([[-1, 3]]), torch.ones(1, 2))
    found = item_given_view(shop, ProbeState(torch.zeros(1)), page, later)
    one, other = torch.tensor([[0.4, 0.3, 0.2, 0.3]]) / 1.2, torch.tensor([[0.4, 0.3, 0.2, 0.1]])
    torch.testing.assert_close(found, (one + other) / 2)


@pytest.fixture(scope="module")
def sessions() -> Sessions:
    simulator = Simulator(MODEL, num_slots=3, expected_revenue=False, dtype=F64)
    return simulate(simulator, logging_policy(MODEL, 3), 120)[0]


@torch.no_grad()
def walked(sessions: Sessions, row_B: Tensor) -> dict[int, tuple[float, int, float, float]]:
    """Of each view, one by one: log-probability, rank, P(cart or buy) and P(buy)."""
    found = {}
    steps = gather_steps(sessions, cart_counts(sessions), row_B)
    for moment in walk(MODEL, steps):
        now, event = moment.steps, moment.steps.event
        item_n1, price_n1 = event.item.clamp(min=0)[:, None], event.price[:, None]
        parts = []
        for share_n1, supposed in by_segment(
            MODEL, MODEL.read(moment.reading.state), now.page, now.visit
        ):
            law = choice.law(MODEL.respond(supposed, now.page, now.visit), now.visit)
            after = MODEL.after(supposed, item_n1, price_n1, (event.slot >= 0)[:, None])
            chosen_n = choice.log_prob(law, event).exp()
            after_n4 = after_log_probs(after).exp()[:, 0]
            parts.append((share_n1[:, 0], choice.probabilities(law), chosen_n, after_n4))
        for n in range(len(now.step)):
            if event.kind[n] != Kind.VIEW:
                continue
            mass = torch.zeros(MODEL.catalog.num_items, dtype=F64)
            viewed, chosen = torch.zeros((), dtype=F64), torch.zeros((), dtype=F64)
            follow = torch.zeros(4, dtype=F64)
            for share_n, chance, chosen_n, after_n4 in parts:
                mass += share_n[n] * chance.organic[n]
                for k, item in enumerate(now.page.item[n].tolist()):
                    mass[item] += share_n[n] * chance.slot[n, k] if item >= 0 else 0.0
                viewed += share_n[n] * (1 - chance.leave[n] - chance.checkout[n])
                # who views this item, and finds it so, is more likely of some segments
                follow += share_n[n] * chosen_n[n] * after_n4[n]
                chosen += share_n[n] * chosen_n[n]
            own = mass[event.item[n]]
            found[int(now.step[n])] = (
                float((own / viewed).log()),
                1 + int((mass > own).sum()),
                float((follow[After.CART] + follow[After.BUY]) / chosen),
                float(follow[After.BUY] / chosen),
            )
    return found


def test_predictions_are_those_of_walking_along(
    sessions: Sessions, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Why: batches, masks and gathers each could pair a forecast with another shopper's deed.
    monkeypatch.setattr(report, "MAX_LOGITS", 40 * 64)  # several batches
    row_B = torch.arange(120)
    found, expected = predict(MODEL, sessions, row_B), walked(sessions, row_B)
    first = set((sessions.offset[:-1]).tolist())
    later = sorted(step for step in expected if step not in first)
    assert sorted(found.next_step.tolist()) == later
    for step, log_prob, rank in zip(
        found.next_step.tolist(),
        found.next_log_prob.tolist(),
        found.next_rank.tolist(),
        strict=True,
    ):
        assert log_prob == pytest.approx(expected[step][0], abs=1e-4)
        assert rank == expected[step][1]
    pairs = sorted(map(tuple, found.follow.tolist()))
    hoped = sorted((cart, buy) for _, _, cart, buy in expected.values())
    torch.testing.assert_close(torch.tensor(pairs), torch.tensor(hoped), rtol=0, atol=1e-5)
    viewed = sessions.event.kind == Kind.VIEW
    bought = (sessions.event.after == After.BUY) & viewed
    carted = (sessions.event.after == After.CART) & viewed
    assert found.followed.sum(0).tolist() == [int((carted | bought).sum()), int(bought.sum())]


def test_the_report_holds_its_figures(sessions: Sessions) -> None:
    # Why: readers and dashboards find the figures by these names.
    row_B = torch.arange(120)
    figures = predictive_report(MODEL, sessions, row_B[:80], row_B[80:])
    names = {f"{model}{figure}" for model in ("", "popularity_", "markov_")
             for figure in ("nll_next_view", "recall_at_20", "mrr_at_20")}  # fmt: skip
    names |= {f"{what}_{figure}" for what in ("cart", "purchase")
              for figure in ("auc", "ece", "rate")}  # fmt: skip
    assert set(figures) == {"nll", "nll_choice", "nll_after", "nll_gap"} | names
    for name, value in mean_nll(MODEL, sessions, row_B[80:]).items():
        assert figures[name] == pytest.approx(value, abs=1e-5)
    json.dumps(figures, allow_nan=False)


@torch.no_grad()
def test_the_model_beats_the_baselines_on_its_own_shoppers(sessions: Sessions) -> None:
    # Why: the truth has the best expected likelihood; a figure that denies it is computed wrongly.
    row_B = torch.arange(120)
    figures = predictive_report(MODEL, sessions, row_B[:80], row_B[80:])
    ours, popular = figures["nll_next_view"], figures["popularity_nll_next_view"]
    markov_nll = figures["markov_nll_next_view"]
    assert ours is not None and popular is not None and markov_nll is not None
    assert ours < min(popular, markov_nll)


def test_what_cannot_be_told_is_none(sessions: Sessions) -> None:
    # Why: a 0 or a 0.5 in place of "unknown" would be averaged and ranked.
    train_B, none_B = torch.arange(80), torch.zeros(0, dtype=torch.int64)
    assert set(predictive_report(MODEL, sessions, train_B, none_B).values()) == {None}
    lonely = sessions_of("1", "2")  # nobody views twice, buys or carts
    figures = predictive_report(MODEL, lonely, torch.tensor([0]), torch.tensor([1]))
    assert figures["nll_next_view"] is figures["markov_mrr_at_20"] is figures["cart_auc"] is None
    assert figures["purchase_rate"] == 0.0 and figures["nll"] is not None
