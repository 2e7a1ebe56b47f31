"""recgym.ads.placement: where ads may stand, and how a page is filled around them."""

from __future__ import annotations

import pytest
import torch

from recgym.ads.placement import PlacementRules, legal, merge, patterns
from recgym.errors import UserError


def slots(place: torch.Tensor) -> list[list[int]]:
    return [row.nonzero().squeeze(-1).tolist() for row in place]


def test_patterns_by_hand() -> None:
    # Why: the first has to be the empty one, and what agents learn hangs on the order.
    found = patterns(PlacementRules(min_distance=2), 4)
    assert slots(found) == [[], [1], [2], [3], [1, 3]]
    found = patterns(PlacementRules(min_distance=1, first_slot=True, max_ads=3), 3)
    assert slots(found) == [[], [0], [1], [2], [0, 1], [0, 2], [1, 2], [0, 1, 2]]
    assert slots(patterns(PlacementRules(max_ads=0), 4)) == [[]]
    assert len(patterns(PlacementRules(), 10)) == 31  # 1 + 9 + C(7, 2)


@pytest.mark.parametrize(
    "rules",
    [
        PlacementRules(),
        PlacementRules(min_distance=2, first_slot=True, max_ads=3),
        PlacementRules(min_distance=1, max_ads=1),
        PlacementRules(max_ads=0),
    ],
)
def test_a_wish_is_cut_down_to_a_pattern_and_a_pattern_is_left_alone(rules: PlacementRules) -> None:
    # Why: whatever an agent asks for, no page may break a rule.
    every = torch.tensor([[bool(n >> k & 1) for k in range(7)] for n in range(128)])
    found, cut = patterns(rules, 7), legal(rules, every)
    allowed = {tuple(row) for row in found.tolist()}
    assert {tuple(row) for row in cut.tolist()} == allowed
    assert not (cut & ~every).any()
    assert torch.equal(legal(rules, found), found)


def test_from_the_top_what_stands_too_near_is_dropped() -> None:
    # Why: by hand, once.
    wish = torch.tensor([[1, 1, 0, 1, 1, 1, 1, 1]], dtype=torch.bool)
    assert slots(legal(PlacementRules(), wish)) == [[1, 4]]
    assert slots(legal(PlacementRules(max_ads=9), wish)) == [[1, 4, 7]]
    assert slots(legal(PlacementRules(first_slot=True), wish)) == [[0, 3]]


def test_merge_by_hand() -> None:
    # Why: an ad pushes the organic items down, the last one off the page; one that stands there as
    # an ad is not repeated; an empty place stays empty, and so does one with an item shown above.
    for organic, ad, expected in (
        ([1, 2, 3, 4], [-1, -1, -1, -1], [1, 2, 3, 4]),
        ([1, 2, 3, 4], [-1, 9, -1, -1], [1, 9, 2, 3]),
        ([1, 2, 3, 4], [-1, 9, -1, 8], [1, 9, 2, 8]),
        ([1, 2, 3, 4], [-1, 1, -1, -1], [2, 1, 3, 4]),
        ([-1, 2, 3, -1], [9, -1, -1, -1], [9, -1, 2, 3]),
        ([1, 2, 1, 4], [-1, -1, -1, -1], [1, 2, -1, 4]),
        ([1, 1, 2, 3], [-1, 1, -1, -1], [2, 1, 3, -1]),
    ):
        assert merge(torch.tensor([organic]), torch.tensor([ad]))[0].tolist() == expected


def test_merge_is_what_a_plain_loop_does() -> None:
    # Why: the ranks of the packed version are where an off-by-one would hide.
    generator = torch.Generator().manual_seed(0)
    for _ in range(300):
        items = torch.randperm(12, generator=generator)
        organic = items[:6]
        as_ad = torch.rand(6, generator=generator) < 0.4
        ad = torch.where(as_ad, items[torch.randperm(12, generator=generator)[:6]], -1)
        left = [i for i in organic.tolist() if i not in ad.tolist()]
        expected = [a if a >= 0 else left.pop(0) for a in ad.tolist()]
        assert merge(organic.unsqueeze(0), ad.unsqueeze(0))[0].tolist() == expected


@pytest.mark.parametrize(
    ("rules", "sentence"),
    [
        ({"min_distance": 0}, r"rules.min_distance=0: expected a whole number of at least 1."),
        ({"max_ads": -1}, r"rules.max_ads=-1: expected a whole number of at least 0."),
        ({"frequency_cap": 0}, r"rules.frequency_cap=0: expected a whole number of at least 1."),
        ({"first_slot": 1}, r"rules.first_slot=1: expected true or false."),
    ],
)
def test_a_bad_rule_ends_in_one_sentence(rules: dict[str, object], sentence: str) -> None:
    # Why: it names the rule and what it may be.
    with pytest.raises(UserError, match=sentence):
        PlacementRules(**rules)  # type: ignore[arg-type]


def test_too_many_patterns_end_in_one_sentence() -> None:
    # Why: 2^20 options would fill the memory long before anybody learned from them.
    with pytest.raises(UserError, match=r"rules.max_ads=20: over 4096 ways .* allow fewer ads"):
        patterns(PlacementRules(min_distance=1, max_ads=20), 20)
