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


def test_a_unit_of_mass_costs_less_where_it_keeps_shoppers() -> None:
    # Why: by hand, for the page of item 0 alone: mass 2, W = 1, and w = 1 / 2. Beside an empty page
    # half go on, so view = sqrt(2) / (sqrt(2) + 1) = 0.585786; staying is worth 3: lambda = 0.5 -
    # 0.5 * 0.414214 * 3.5 = -0.224874. Item 0 scores 1 - lambda, item 1 0.5 (0.4 - lambda).
    odds, gain = torch.tensor([[1.0, 0.5]]), torch.tensor([[1.0, 0.4]])
    pull = slates.Pull(torch.tensor([3.0]), torch.tensor([0.5]), torch.tensor(0.5))
    score = slates.scores(odds, gain, torch.ones(1, 2, dtype=torch.bool), 1, pull=pull)
    assert score[0].tolist() == pytest.approx([1.224874, 0.5 * 0.624874], abs=1e-5)
    # where no page pulls, what staying is worth moves nothing: clicks are taken from finds alone
    idle = slates.Pull(torch.tensor([3.0]), torch.tensor([0.5]), torch.tensor(0.0))
    given = odds, gain, torch.ones(1, 2, dtype=torch.bool), 1
    assert torch.equal(slates.scores(*given, pull=idle), slates.scores(*given))


def test_of_two_pages_the_one_that_keeps_more_shoppers() -> None:
    # Why: items worth 1.0 and 0.9 a click, the second clicked three times as often. Without a pull
    # item 0 of a page of one lifts 1.0 / 2 and item 1 2.7 / 4; with staying worth -2 both lose by
    # keeping shoppers, item 1 more: 0.5858 (-2 + 0.5) = -0.879 and 0.6667 (-2 + 0.675) = -0.883.
    odds, gain = torch.tensor([[1.0, 3.0]]), torch.tensor([[1.0, 0.9]])
    both = torch.ones(1, 2, dtype=torch.bool)
    for optimiser in slates.OPTIMISERS:
        assert slates.scores(odds, gain, both, 1, optimiser).argmax().item() == 1
    worse = slates.Pull(torch.tensor([-2.0]), torch.tensor([0.5]), torch.tensor(0.5))
    for optimiser in ("greedy", "exact"):
        assert slates.scores(odds, gain, both, 1, optimiser, worse).argmax().item() == 0


@pytest.mark.parametrize("weight", [0.0, 0.45, 1.0])
def test_the_ratio_is_the_best_slate_with_a_pull_too(weight: float) -> None:
    # Why: for a weight of 0 or 1 the value is a ratio of sums, so that the iteration ends at the
    # best of all pairs; between them it has to come within a thousandth on average.
    generator = torch.Generator().manual_seed(0)
    odds = torch.rand(300, 10, generator=generator).square()
    gain = torch.randn(300, 10, generator=generator)
    stay, go_on = torch.rand(2, 300, generator=generator)
    pull = slates.Pull(3.0 * stay, go_on, torch.tensor(weight))
    allowed = torch.ones(300, 10, dtype=torch.bool)

    def value(optimiser: str) -> torch.Tensor:
        best = slates.scores(odds, gain, allowed, 2, optimiser, pull).topk(2).indices
        v, a = odds.gather(1, best), gain.gather(1, best)
        mass = 1.0 + v.sum(-1)
        view = go_on * mass**weight / (go_on * mass**weight + 1.0 - go_on)
        return view * (pull.stay + (v * a).sum(-1) / mass)

    found, most = value("ratio"), value("exact")
    assert torch.allclose(most, torch.maximum(most, found), atol=1e-6)
    bound = 1e-6 if weight in (0.0, 1.0) else 1e-3
    assert ((most - found) / most.abs().mean()).mean().item() < bound


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
