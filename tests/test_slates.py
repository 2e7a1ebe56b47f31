"""agents.slates: the best slate by hand and by trying all; masked items never stand on it."""

from __future__ import annotations

import itertools

import pytest
import torch

from agents import slates


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


def test_no_slate_is_better() -> None:
    # Why: against all 120 pairs and triples of a hundred random shops, losses among the items.
    generator = torch.Generator().manual_seed(0)
    odds = torch.rand(100, 10, generator=generator).square()
    gain = torch.randn(100, 10, generator=generator)
    allowed = torch.ones(100, 10, dtype=torch.bool)
    for num_slots in (2, 3):
        best = slates.scores(odds, gain, allowed, num_slots).topk(num_slots).indices
        every = torch.tensor(list(itertools.combinations(range(10), num_slots)))
        worth = torch.stack([slates.lifted(odds, gain, row.expand(100, -1)) for row in every])
        assert torch.allclose(slates.lifted(odds, gain, best), worth.max(0).values, atol=1e-6)


def test_a_masked_item_is_never_chosen() -> None:
    # Why: a masked 0 would beat a valid negative score; over a million values, most of them losses.
    generator = torch.Generator().manual_seed(0)
    odds = torch.rand(100_000, 12, generator=generator)
    gain = torch.randn(100_000, 12, generator=generator) - 1.0
    allowed = torch.rand(100_000, 12, generator=generator) < 0.5
    score = slates.scores(odds, gain, allowed, 4)
    chosen = score.topk(4)
    assert bool(allowed.gather(1, chosen.indices)[chosen.values > -torch.inf].all())
    assert bool((score == -torch.inf).eq(~allowed).all())


def test_the_value_of_a_slate_by_hand() -> None:
    # Why: SlateQ, equation 14. Items add 0.5 and 0.25 and take over 0.1 and 0.05, so the page has
    # mass 1.75; going on rises from 0.6 to 1.05 / 1.45 = 0.7241379; clicks have 0.6 / 1.75 and
    # 0.3 / 1.75; the gain is 3 * 0.342857 + 1 * 0.1714286 = 1.2 a view.
    given = (
        torch.tensor([2.0]),
        torch.tensor([[3.0, 1.0]]),
        torch.tensor([[0.5, 0.25]]),
        torch.tensor([[0.1, 0.05]]),
        torch.tensor([0.6]),
    )
    both = torch.tensor([[0, 1]])
    value = slates.value(*given, torch.tensor(1.0), both)
    assert value.item() == pytest.approx(2.0 + 0.7241379 * 1.2, abs=1e-6)
    # without a pull of the page on going on, 0.6 stays
    assert slates.value(*given, torch.tensor(0.0), both).item() == pytest.approx(2.72, abs=1e-6)
    # the first item alone: mass 1.5, 0.9 / 1.3 going on, clicked with 0.4
    alone = slates.value(*given, torch.tensor(1.0), torch.tensor([[0]]))
    assert alone.item() == pytest.approx(2.0 + 0.9 / 1.3 * 0.4 * 3.0, abs=1e-6)
