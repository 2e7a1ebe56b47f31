"""agents.slates: the best slate by hand and by trying all; masked items never stand on it."""

from __future__ import annotations

import itertools

import pytest
import torch

from agents import slates
from recgym.errors import UserError


def test_a_frequent_click_worth_less_than_the_page_is_a_loss() -> None:
    # Why: odds times advantages are 1.0, 3.0 and 1.8, so the top two hold item 2 and have
    # lambda = 4.8 / 3.5 = 1.371. Items 0 and 1 have 4.0 / 2.5 = 1.6: item 2 is worth only 0.9.
    odds, gain = torch.tensor([[1.0, 0.5, 2.0]]), torch.tensor([[1.0, 6.0, 0.9]])
    score = slates.scores(odds, gain, torch.ones(1, 3, dtype=torch.bool), 2)
    best = score.topk(2).indices
    assert sorted(best[0].tolist()) == [0, 1]
    assert slates.lifted(odds, gain, best).item() == pytest.approx(1.6, abs=1e-6)
    # with that lambda, by hand: 1 * (1 - 1.6), 0.5 * (6 - 1.6), 2 * (0.9 - 1.6)
    assert score[0].tolist() == pytest.approx([-0.6, 2.2, -1.4], abs=1e-5)


@pytest.mark.parametrize("optimiser", ["ratio", "exact"])
def test_no_slate_is_better(optimiser: str) -> None:
    # Why: against all 120 pairs and triples of a hundred random shops, losses among the items.
    generator = torch.Generator().manual_seed(0)
    odds = torch.rand(100, 10, generator=generator).square()
    gain = torch.randn(100, 10, generator=generator)
    allowed = torch.ones(100, 10, dtype=torch.bool)
    for num_slots in (2, 3):
        best = slates.scores(odds, gain, allowed, num_slots, optimiser).topk(num_slots).indices
        every = torch.tensor(list(itertools.combinations(range(10), num_slots)))
        worth = torch.stack([slates.lifted(odds, gain, row.expand(100, -1)) for row in every])
        assert torch.allclose(slates.lifted(odds, gain, best), worth.max(0).values, atol=1e-6)


@pytest.mark.parametrize(
    ("optimiser", "slate", "value"),
    [
        ("top_k", [0, 3], 43.2 / 19),
        ("greedy", [0, 2], 25.6 / 11),
        ("ratio", [2, 5], 8 / 3),
        ("exact", [2, 5], 8 / 3),
    ],
)
def test_the_optimisers_part_where_clicks_are_taken(
    optimiser: str, slate: list[int], value: float
) -> None:
    # Why: by hand, odds times advantages are 21.6 for items 0 and 3, 4 for 2 and 5, 1 else. Alone
    # item 0 lifts 21.6 / 10 = 2.16 and item 2 lifts 4 / 2; beside item 0 item 2 does best.
    odds = torch.tensor([[9.0, 1.0, 1.0, 9.0, 1.0, 1.0]])
    gain = torch.tensor([[2.4, 1.0, 4.0, 2.4, 1.0, 4.0]])
    score = slates.scores(odds, gain, torch.ones(1, 6, dtype=torch.bool), 2, optimiser)
    best = score.topk(2).indices
    assert sorted(best[0].tolist()) == slate
    assert slates.lifted(odds, gain, best).item() == pytest.approx(value, abs=1e-6)


def test_greedy_takes_item_by_item_what_lifts_most() -> None:
    # Why: against the same written out in plain numbers, with losses among the items; and its
    # slate comes in the order in which it was chosen.
    generator = torch.Generator().manual_seed(0)
    odds = torch.rand(50, 8, generator=generator, dtype=torch.float64).square()
    gain = torch.randn(50, 8, generator=generator, dtype=torch.float64)
    score = slates.scores(odds, gain, torch.ones(50, 8, dtype=torch.bool), 3, "greedy")
    for row, (v, a) in enumerate(zip(odds.tolist(), gain.tolist(), strict=True)):
        slate: list[int] = []
        for _ in range(3):
            lifted = {
                i: sum(v[j] * a[j] for j in [*slate, i]) / (1 + sum(v[j] for j in [*slate, i]))
                for i in range(8)
                if i not in slate
            }
            slate.append(max(lifted, key=lambda i: lifted[i]))
        assert score[row].topk(3).indices.tolist() == slate


@pytest.mark.parametrize("optimiser", slates.OPTIMISERS)
def test_a_masked_item_is_never_chosen(optimiser: str) -> None:
    # Why: a masked 0 would beat a valid negative score; over a million values, most of them losses.
    # As many items are shown as may be, so that a slate is as full as it can be.
    generator = torch.Generator().manual_seed(0)
    count = 10_000 if optimiser == "exact" else 100_000  # it looks at 495 slates in each row
    odds = torch.rand(count, 12, generator=generator)
    gain = torch.randn(count, 12, generator=generator) - 1.0
    allowed = torch.rand(count, 12, generator=generator) < 0.5
    score = slates.scores(odds, gain, allowed, 4, optimiser)
    chosen = score.topk(4)
    assert bool(allowed.gather(1, chosen.indices)[chosen.values > -torch.inf].all())
    assert bool((score == -torch.inf).eq(~allowed).all())


@pytest.mark.parametrize("optimiser", ["ratio", "exact"])
def test_the_best_slate_of_few_items_is_as_full_as_it_can_be(optimiser: str) -> None:
    # Why: against all full slates of what may be shown, where empty slots would often be better.
    generator = torch.Generator().manual_seed(1)
    odds = torch.rand(200, 7, generator=generator)
    gain = torch.randn(200, 7, generator=generator) - 0.5
    allowed = torch.rand(200, 7, generator=generator) < 0.6
    score = slates.scores(odds, gain, allowed, 3, optimiser)
    for row in range(200):
        some = allowed[row].nonzero().flatten().tolist()
        full = [list(slate) for slate in itertools.combinations(some, min(3, len(some)))]
        v, a = odds[row], gain[row]
        best = max(float((v[s] * a[s]).sum() / (1 + v[s].sum())) for s in full)
        chosen = score[row].topk(min(3, len(some))).indices
        assert float((v[chosen] * a[chosen]).sum() / (1 + v[chosen].sum())) == pytest.approx(
            best, abs=1e-5
        )


def test_what_cannot_be_sought_is_refused_in_a_sentence() -> None:
    # Why: a name mistyped, and a search that would never end: 300 items have 10^18 slates of ten.
    with pytest.raises(UserError, match="slate_optimiser=best: expected ratio, top_k, greedy"):
        slates.known("best")
    many = torch.ones(1, 300)
    with pytest.raises(UserError, match="slates of 10 among 300 items: expected at most 50,000"):
        slates.scores(many, many, many > 0, 10, "exact")
