"""agents.distributions: laws after a slate, their losses and projections, by hand."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from agents.distributions import Atoms, Branches, Categorical, Head, Mean, Quantiles, head_of
from recgym.errors import UserError

CPU = torch.device("cpu")


def atoms(value: list[float], weight: list[float]) -> Atoms:
    return Atoms(torch.tensor([value]), torch.tensor([weight]))


def after(
    head: Head, null: list[float], away: list[float], gain: list[list[float]], *chance: float
) -> Atoms:
    """Half of the shoppers view, a view is of item k with ``chance``."""
    given = (torch.tensor([part]) for part in (away, null, gain, 0.5, chance))
    return head.following(Branches(*given))


def test_the_mean_after_a_slate_by_hand() -> None:
    # Why: SlateQ, equation 14, with a find of 2 and no view of 1: 0.5 * (2 + 0.4 * 3 + 0.2 * 10) +
    # 0.5 * 1 = 3.1; before a reward of 1.25 and discounted by a half it is 2.8.
    law = after(Mean(CPU), [2.0], [1.0], [[3.0], [10.0]], 0.4, 0.2)
    assert law.mean().item() == pytest.approx(3.1)
    before = law.before(torch.tensor([1.25]), torch.tensor([0.5]))
    assert before.mean().item() == pytest.approx(2.8)
    # Huber's loss of an error of 2.8 - 2.3 is a half of its square, of one of 2.8 that less a half
    losses = [Mean(CPU).losses(torch.tensor([[x]]), before).item() for x in (2.3, 0.0)]
    assert losses == pytest.approx([0.125, 2.3])


def test_quantiles_after_a_slate_are_a_weighted_mixture() -> None:
    # Why: whatever was done brings its own return. Half view nothing: two atoms of 0.25 each; the
    # item is clicked with 0.5 * 0.4: two of 0.1; two of 0.15 are left for a find.
    law = after(Quantiles(2, CPU), [1.0, 3.0], [0.0, 2.0], [[10.0, 20.0]], 0.4)
    assert law.value.tolist() == [[0.0, 2.0, 1.0, 3.0, 11.0, 23.0]]
    weights = [0.25, 0.25, 0.15, 0.15, 0.1, 0.1]
    assert law.weight.flatten().tolist() == pytest.approx(weights)
    assert law.mean().item() == pytest.approx(4.5)


def test_the_quantile_huber_loss_by_hand() -> None:
    # Why: equation 10. Quantiles at 1/4 and 3/4 say 0 and 1; the return is 2 with 1/4 and 1/2 with
    # 3/4. Huber's of the gaps: 1.5 and 0.125 for the first, 0.5 and 0.125 for the second, of which
    # the last is from above. So 1/4 * (1.5 / 4 + 0.125 * 3/4) + 3/4 * 0.5 / 4 + 1/4 * 0.125 * 3/4.
    head, output = Quantiles(2, CPU), torch.tensor([[0.0, 1.0]])
    law = atoms([2.0, 0.5], [0.25, 0.75])
    assert head.losses(output, law).item() == pytest.approx(0.234375)
    # a weight is as good as atoms that come as often
    often = atoms([2.0, 0.5, 0.5, 0.5], [0.25] * 4)
    assert head.losses(output, often).item() == pytest.approx(0.234375)


def test_quantiles_find_those_of_a_weighted_law() -> None:
    # Why: the loss is right where its minimum is: of 0, 10 and 20 with 0.55, 0.3 and 0.15 the
    # quantiles at 0.125 and 0.375 are 0, those at 0.625 and 0.875 are 10 and 20. (Huber's loss
    # moves them by no more than its kappa, 1.)
    head, law = Quantiles(4, CPU), atoms([0.0, 10.0, 20.0], [0.55, 0.3, 0.15])
    output = torch.full((1, 4), 5.0, requires_grad=True)
    optimiser = torch.optim.Adam([output], lr=0.1)
    for _ in range(600):
        optimiser.zero_grad()
        head.losses(output, law).sum().backward()
        optimiser.step()
    assert output.flatten().tolist() == pytest.approx([0.0, 0.0, 10.0, 20.0], abs=1.0)


def test_the_projection_by_hand() -> None:
    # Why: algorithm 1. On the atoms -1, 0, 1, 2, 3 a return of 0.25 is shared 3 to 1 by 0 and 1,
    # one of 2 keeps to its atom, 9 and -4 count as the ends.
    head = Categorical(5, (-1.0, 3.0), CPU)
    law = atoms([0.25, 2.0, 9.0, -4.0], [0.4, 0.3, 0.2, 0.1])
    assert head.project(law).flatten().tolist() == pytest.approx([0.1, 0.3, 0.1, 0.3, 0.2])
    # several returns may come to lie between the same two atoms
    near = head.project(atoms([0.25, 0.5, 3.0], [0.4, 0.4, 0.2]))
    assert near.flatten().tolist() == pytest.approx([0.0, 0.5, 0.3, 0.0, 0.2])


def test_the_projection_keeps_the_mean_within_the_support() -> None:
    # Why: slates are chosen by means: what the grid adds to them is an error of the agent's.
    generator = torch.Generator().manual_seed(0)
    head = Categorical(11, (-2.0, 3.0), CPU)
    value_NT = 5.0 * torch.rand(20, 30, generator=generator) - 2.0
    law = Atoms(value_NT, torch.rand(20, 30, generator=generator).softmax(-1))
    share_NZ = head.project(law)
    assert torch.allclose(share_NZ @ head.atom_Z, law.mean(), atol=1e-5)
    assert torch.allclose(share_NZ.sum(-1), torch.ones(20)) and bool((share_NZ >= 0.0).all())


def test_probabilities_after_a_slate_are_a_mixture() -> None:
    # Why: on the atoms 0 and 1 a find brings 1 with 1/2, the item with 3/4 and no view with 1/4:
    # 0.3 * 1 / 2 + 0.2 * 3 / 4 + 0.5 * 1 / 4 = 0.425.
    gain = float(torch.tensor(3.0).log())
    law = after(Categorical(2, (0.0, 1.0), CPU), [0.0, 0.0], [gain, 0.0], [[0.0, gain]], 0.4)
    assert law.weight.flatten().tolist() == pytest.approx([0.575, 0.425])
    assert law.value.tolist() == [[0.0, 1.0]]


def test_the_divergence_by_hand() -> None:
    # Why: cross-entropy of a sure return with three equal atoms is log 3; it is 0 where all is
    # right, so that what is known ranks last.
    head, law = Categorical(3, (-1.0, 1.0), CPU), atoms([-1.0, 1.0], [0.25, 0.75])
    right = torch.tensor([[0.25, 1e-30, 0.75]]).log()
    assert head.losses(torch.zeros(1, 3), atoms([0.0], [1.0])).item() == pytest.approx(1.0986123)
    assert head.losses(right, law).item() == pytest.approx(0.0, abs=1e-6)


@pytest.mark.parametrize("support", [(-5.0, 20.0), (-50.0, 100.0)])
def test_a_tilt_moves_the_first_law_by_itself(support: tuple[float, float]) -> None:
    # Why: an agent begins at "an item is worth what it sells", whatever is learned of returns. A
    # normal law of deviation s, tilted by t / s^2 times the atom, has moved by t, also where the
    # grid is so coarse (3 from atom to atom) that s follows it.
    head = Categorical(51, support, CPU)
    tilt = torch.tensor([0.0, 0.3, 2.0]).unsqueeze(-1)
    moved: Tensor = head.mean(head.base_Z + tilt * head.slope_Z)
    assert moved.tolist() == pytest.approx([0.0, 0.3, 2.0], abs=1e-3)


def test_a_fitted_tilt_gives_an_item_its_mean() -> None:
    # Why: slates are chosen by means, and an item's taste is a tilt alone: whatever the law, its
    # likelihood is highest where the mean is right. Here 0.6 * 0 + 0.4 * 7 = 2.8.
    head, law = Categorical(26, (-5.0, 20.0), CPU), atoms([0.0, 7.0], [0.6, 0.4])
    tilt = torch.zeros(1, 1, requires_grad=True)
    optimiser = torch.optim.Adam([tilt], lr=0.05)
    for _ in range(400):
        optimiser.zero_grad()
        head.losses(head.base_Z + tilt * head.slope_Z, law).sum().backward()
        optimiser.step()
    assert head.mean(head.base_Z + tilt * head.slope_Z).item() == pytest.approx(2.8, abs=1e-3)


@pytest.mark.parametrize(
    ("settings", "sentence"),
    [
        (("medians", 5, (-1.0, 1.0)), "expected mean, quantiles or categorical"),
        (("categorical", 1, (-1.0, 1.0)), r"agent\.num_atoms=1.*at least 2 atoms"),
        (("categorical", 5, (1.0, 2.0)), r"support=\[1, 2\].*holds 0"),
        (("categorical", 5, (-1.0, 0.0)), r"support=\[-1, 0\].*holds 0"),
    ],
)
def test_settings_that_cannot_be_used_are_said(
    settings: tuple[str, int, tuple[float, float]], sentence: str
) -> None:
    # Why: a grid without returns of 0 knows no shopper who buys nothing.
    with pytest.raises(UserError, match=sentence):
        head_of(*settings, CPU)
