"""agents.noisy: noise by hand, of one draw for all rows or of one for each."""

from __future__ import annotations

import pytest
import torch

from agents.noisy import Noise, NoisyLinear, draw
from recgym import rng

KEYS = torch.tensor([3, 4, 5])


def layer_of() -> NoisyLinear:
    layer = NoisyLinear(2, 1, 0.5)
    with torch.no_grad():
        layer.weight.copy_(torch.tensor([[1.0, 2.0]]))
        layer.bias.fill_(0.5)
        layer.weight_sigma.copy_(torch.tensor([[0.1, 0.2]]))
        layer.bias_sigma.fill_(0.3)
    return layer


@pytest.mark.parametrize("rows", [1, 2])
def test_the_output_by_hand(rows: int) -> None:
    # Why: equation 9 with factorised noise. Of x = (1, 1) the mean is 1 + 2 + 0.5 = 3.5; noise of
    # the inputs 2 and -1 and of the output 3 adds 3 * (0.1 * 2 - 0.2 * 1 + 0.3) = 0.9.
    layer = layer_of()
    drawn = Noise(torch.tensor([[2.0, -1.0]] * rows), torch.tensor([[3.0]] * rows))
    x = torch.ones(2, 2)
    assert layer(x, drawn).flatten().tolist() == pytest.approx([4.4, 4.4], abs=1e-6)
    assert layer(x).flatten().tolist() == pytest.approx([3.5, 3.5])


def test_noise_is_the_signed_root_of_normal_draws() -> None:
    # Why: f(x) = sgn(x) sqrt(|x|), so that a product of two has the variance E|x| squared, 2 / pi.
    e_N = rng.normal(KEYS, 800)
    ((given, put),) = draw([NoisyLinear(400, 400, 0.5)], KEYS)
    both = torch.cat([given, put], -1)
    assert torch.allclose(both.sign() * both**2, e_N, atol=1e-5)
    assert float(torch.outer(put[0], given[0]).var()) == pytest.approx(2 / torch.pi, rel=0.1)


def test_one_draw_for_all_is_the_draw_of_each() -> None:
    # Why: the two ways to reckon it are one layer, and a row must not hear of the rows beside it.
    layer, x = NoisyLinear(6, 4, 0.5), torch.randn(3, 6, generator=torch.Generator())

    def out(x: torch.Tensor, keys: torch.Tensor) -> torch.Tensor:
        return layer(x, draw([layer], keys)[0])

    each = out(x, KEYS)
    alone = torch.cat([out(x[n : n + 1], KEYS[n : n + 1]) for n in range(3)])
    assert torch.allclose(each, alone, atol=1e-6)
    assert not torch.allclose(each[0], out(x[:1], KEYS[1:2])[0], atol=1e-2)


def test_layers_of_one_key_have_noise_of_their_own() -> None:
    # Why: alike noise in all layers would explore along one line.
    first, second = draw([layer_of(), layer_of()], KEYS)
    assert first.given.shape == (3, 2) and first.put.shape == (3, 1)
    assert not torch.isclose(first.given, second.given).any()
    assert not torch.isclose(first.given, first.put).any()


def test_noise_begins_as_the_paper_has_it() -> None:
    # Why: sigma_0 / sqrt(inputs), section 3.2. By hand 0.5 / sqrt(4) = 0.25.
    layer = NoisyLinear(4, 3, 0.5)
    assert set(layer.weight_sigma.flatten().tolist() + layer.bias_sigma.tolist()) == {0.25}


def test_noise_is_learned() -> None:
    # Why: exploration ends where the loss says so, by gradients and not by a schedule.
    for keys in (KEYS, KEYS[:1]):
        layer = layer_of()
        layer(torch.ones(3, 2), draw([layer], keys)[0]).sum().backward()
        assert all(bool((p.grad != 0).all()) for p in layer.parameters() if p.grad is not None)
        assert all(p.grad is not None for p in layer.parameters())
