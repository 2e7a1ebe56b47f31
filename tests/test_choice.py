"""recgym.choice: the law of the choice, by hand and by its own draws."""

from __future__ import annotations

import dataclasses
import math

import pytest
import torch
from probe_shop import ADDED, CLICK, KEPT, found_alone, lanes_of
from scipy import stats
from torch import Tensor

from recgym import choice, rng, visit
from recgym.rng import Purpose
from recgym.types import Event, Kind, Response, Visit

D = torch.float64
CATEGORY = torch.tensor([0, 0, 1, 1])


def law_of(
    page: list[int],
    appeal: list[float],
    *,
    found: tuple[float, ...] = (0.4, 0.3, 0.2, 0.1),
    lanes: int = 1,
    leave: float = -1.0,
    checkout: float = -math.inf,
    dissimilarity: float = 0.5,
    page_weight: float = 1.0,
) -> choice.Law:
    item = torch.tensor([page] * lanes, dtype=torch.int64).view(lanes, len(page))
    mass = torch.tensor([appeal] * lanes, dtype=D).view(lanes, len(page)).log()
    response = Response(
        leave=torch.full((lanes,), leave, dtype=D),
        checkout=torch.full((lanes,), checkout, dtype=D),
        organic=lanes_of(found_alone(found, CATEGORY, D), lanes),
        slot=torch.where(item >= 0, mass, -torch.inf),
        page_item=item,
        page_weight=torch.tensor(page_weight, dtype=D),
        dissimilarity=torch.tensor(dissimilarity, dtype=D),
    )
    return choice.law(response, later(lanes))


def later(lanes: int) -> Visit:
    """A later page, with something in the cart."""
    begun = visit.begin(torch.zeros(lanes, dtype=torch.int64), 1, D)
    filled = torch.zeros_like(begun.cart_item)
    return dataclasses.replace(begun, page_number=begun.page_number + 1, cart_item=filled)


def random_law(lanes: int = 1, **changed: float) -> choice.Law:
    return law_of([2, -1, 0], [0.3, 1.0, 0.05], lanes=lanes, checkout=-0.5, **changed)


def event(kind: Kind, item: int = -1, slot: int = -1) -> Event:
    def whole(x: int) -> Tensor:
        return torch.tensor([x])

    zero = torch.zeros(1, dtype=D)
    return Event(whole(kind), whole(item), whole(slot), whole(0), zero, zero, zero)


def all_events(page: list[int]) -> list[Event]:
    slots = [event(Kind.VIEW, item, k) for k, item in enumerate(page) if item >= 0]
    found = [event(Kind.VIEW, item) for item in range(4)]
    return [event(Kind.LEAVE), event(Kind.CHECKOUT), *found, *slots]


def flat(probs: choice.ChoiceProbs) -> Tensor:
    """Leave, checkout, organic items, slots: [N, 2 + I + K]."""
    return torch.cat([probs.leave[:, None], probs.checkout[:, None], probs.organic, probs.slot], -1)


def test_a_nest_by_hand() -> None:
    # Why: item 3 has mass 0.1 alone and 0.2 in its slot, dissimilarity 1/2; see probe_shop.
    part = law_of([3], [0.2])
    assert part.added.item() == pytest.approx(ADDED, abs=1e-7)
    assert part.kept.item() == pytest.approx(KEPT, abs=1e-7)
    probs = choice.probabilities(law_of([3], [0.2], leave=-math.inf))
    assert probs.slot.item() == pytest.approx(CLICK, abs=1e-7)
    assert probs.organic[0, 0].item() == pytest.approx(0.4 / (1 + ADDED), abs=1e-7)


def test_the_upper_level_by_hand() -> None:
    # Why: the page enters it as page_weight * log(1 + added), and through nothing else.
    probs = choice.probabilities(law_of([3], [0.2], leave=-1.0, page_weight=1.0))
    assert probs.leave.item() == pytest.approx(math.exp(-1) / (math.exp(-1) + 1 + ADDED))
    weightless = choice.probabilities(law_of([3], [0.2], leave=-1.0, page_weight=0.0))
    assert weightless.leave.item() == pytest.approx(math.exp(-1) / (math.exp(-1) + 1))


@pytest.mark.parametrize("dissimilarity", [0.05, 0.5, 1.0])
@pytest.mark.parametrize("page_weight", [0.0, 0.4, 1.0])
def test_probabilities_add_up_to_one(dissimilarity: float, page_weight: float) -> None:
    # Why: a nest that loses mass makes every rate wrong by a little.
    probs = random_law(dissimilarity=dissimilarity, page_weight=page_weight)
    law = flat(choice.probabilities(probs))
    assert law.sum().item() == pytest.approx(1.0, abs=1e-12)
    assert bool((law >= 0).all())


def test_log_prob_is_the_log_of_the_probabilities() -> None:
    # Why: a fit maximises the one and a simulation draws from the other.
    page, response = [2, -1, 0], random_law()
    law = flat(choice.probabilities(response))[0]
    positive = law[[0, 1, 2, 3, 4, 5, 6, 8]]  # without the empty slot
    found = torch.cat([choice.log_prob(response, e) for e in all_events(page)])
    torch.testing.assert_close(found, positive.log())


def test_sampled_frequencies_match_the_probabilities() -> None:
    # Why: drawing goes another way round (added, found, taken over) than the formula.
    n = 100_000
    response = random_law(n)
    seed, zero = torch.arange(n), torch.zeros(n, dtype=torch.int64)
    purposes = (
        Purpose.UPPER,
        Purpose.FROM_PAGE,
        Purpose.CATEGORY,
        Purpose.LATENT,
        Purpose.ORGANIC,
        Purpose.TAKE_OVER,
        Purpose.SLOT,
    )
    draws = choice.Draws(*(rng.uniform(rng.key(seed, zero, 1, p), dtype=D) for p in purposes))
    kind, item, slot = choice.sample(response, draws)
    place = torch.where(slot >= 0, 6 + slot, torch.where(item >= 0, 2 + item, kind))
    count = torch.bincount(place, minlength=9)
    law = flat(choice.probabilities(random_law()))[0]
    assert count[7] == 0  # the empty slot
    kept = [i for i in range(9) if i != 7]
    assert stats.chisquare(count[kept].numpy(), (law[kept] * n).numpy()).pvalue > 1e-3
    assert bool((item[slot >= 0] == response.response.page_item[0][slot[slot >= 0]]).all())


def test_showing_what_would_be_found_anyway_adds_nothing_as_dissimilarity_falls() -> None:
    # Why: the causal heart. A slot no stronger than its twin only takes over.
    added = [law_of([0], [0.4], dissimilarity=d).added.item() for d in (1.0, 0.5, 0.05)]
    assert added[0] == pytest.approx(0.4)  # strangers: (0.4 + 0.4) - 0.4
    assert added[1] == pytest.approx(0.4 * (2**0.5 - 1))
    assert added[2] == pytest.approx(0.4 * (2**0.05 - 1))  # 3.5 % of its own mass
    weaker = law_of([0], [0.2], dissimilarity=0.05).added.item()
    assert 0 <= weaker < 1e-6


def test_an_empty_page_is_an_ordinary_page() -> None:
    # Why: the policy of empty pages is what every increment is measured against.
    none = choice.probabilities(law_of([], []))
    empty = choice.probabilities(law_of([-1, -1], [1.0, 1.0]))
    torch.testing.assert_close(none.organic, empty.organic)
    assert empty.slot.sum() == 0
    assert none.leave.item() == pytest.approx(math.exp(-1) / (1 + math.exp(-1)))
    for found in (event(Kind.LEAVE), event(Kind.VIEW, 1)):
        first = choice.log_prob(law_of([], []), found)
        second = choice.log_prob(law_of([-1, -1], [1.0, 1.0]), found)
        torch.testing.assert_close(first, second)


def test_slot_given_view_is_the_conditional_probability() -> None:
    # Why: the LSTM's surprise is zero on average only if this is the same law.
    response = random_law()
    law = choice.probabilities(response)
    viewed = 1 - law.leave - law.checkout
    torch.testing.assert_close(choice.slot_given_view(response)[0], law.slot[0] / viewed)


def test_gradients_stay_finite_with_empty_slots() -> None:
    # Why: -inf - -inf in a masked branch turns every gradient into nan.
    start = random_law().response
    for found in all_events([2, -1, 0]):
        if found.kind.item() == Kind.CHECKOUT:
            continue
        names = ("leave", "slot", "page_weight", "dissimilarity")
        inputs = {name: getattr(start, name).clone().requires_grad_() for name in names}
        alone = [x.clone().requires_grad_() for x in (start.organic.category, start.organic.latent)]
        response = dataclasses.replace(
            start,
            **inputs,
            organic=dataclasses.replace(start.organic, category=alone[0], latent=alone[1]),
            checkout=torch.full_like(start.checkout, -torch.inf),
        )
        choice.log_prob(choice.law(response, later(1)), found).sum().backward()
        for x in (*inputs.values(), *alone):
            assert x.grad is None or bool(torch.isfinite(x.grad).all()), found


def test_gradients_match_finite_differences() -> None:
    # Why: a wrong branch of a where gives a wrong slope without any nan.
    start, found = random_law().response, event(Kind.VIEW, 2, 0)

    def score(
        leave: Tensor, category: Tensor, slot: Tensor, weight: Tensor, dissimilarity: Tensor
    ) -> Tensor:
        response = dataclasses.replace(
            start,
            leave=leave,
            organic=dataclasses.replace(start.organic, category=category.log_softmax(-1)),
            slot=torch.where(start.page_item >= 0, slot, -torch.inf),
            page_weight=weight,
            dissimilarity=dissimilarity,
        )
        return choice.log_prob(choice.law(response, later(1)), found)

    inputs = (
        start.leave.clone().requires_grad_(),
        start.organic.category.clone().requires_grad_(),
        torch.where(start.page_item >= 0, start.slot, 0.0).requires_grad_(),
        torch.tensor(0.6, dtype=D, requires_grad=True),
        torch.tensor(0.4, dtype=D, requires_grad=True),
    )
    assert torch.autograd.gradcheck(score, inputs)


def test_only_what_is_possible_can_happen() -> None:
    # Why: a session begins with its first view, and an empty cart cannot be paid.
    response, page_2 = random_law().response, later(1)
    first = dataclasses.replace(page_2, page_number=torch.zeros_like(page_2.page_number))
    assert choice.probabilities(choice.law(response, first)).leave.item() == 0.0
    bare = dataclasses.replace(page_2, cart_item=torch.full_like(page_2.cart_item, -1))
    probs = choice.probabilities(choice.law(response, bare))
    assert probs.checkout.item() == 0.0 and flat(probs).sum().item() == pytest.approx(1.0)
