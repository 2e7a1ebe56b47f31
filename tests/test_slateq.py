"""agents.slateq: slates and items valued by hand, one item or the whole catalogue at a time."""

from __future__ import annotations

import pytest
import torch

from agents import slateq
from agents.distributions import Categorical, Head, Mean, Quantiles
from agents.outlook import NUM_SALES
from agents.slateq import (
    SlateQNetwork,
    Values,
    advantages,
    all_advantages,
    choices,
    gains,
    led_by_each,
    of_choice,
)
from recgym.users import products

CPU = torch.device("cpu")
HEADS = {
    "mean": Mean(CPU),
    "quantiles": Quantiles(3, CPU),
    "categorical": Categorical(51, (-5.0, 20.0), CPU),
}
kinds = pytest.mark.parametrize("head", HEADS.values(), ids=list(HEADS))


def drawn(*shape: int) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(sum(shape)))


def network_of(head: Head, **changed: bool) -> SlateQNetwork:
    torch.manual_seed(0)
    return SlateQNetwork(7, 5, 16, 0.3, head, **changed)


def stirred(network: SlateQNetwork) -> SlateQNetwork:
    with torch.no_grad():
        for parameter in network.parameters():
            parameter += 0.1 * drawn(*parameter.shape)
    return network


def test_what_a_slate_brings_by_hand() -> None:
    # Why: SlateQ, equation 14. Items add 0.5 and 0.25 and take over 0.1 and 0.05, so the page has
    # mass 1.75; going on rises from 0.6 to 1.05 / 1.45 = 0.7241379; clicks have 0.6 / 1.75 and
    # 0.3 / 1.75.
    given = torch.tensor([[0.5, 0.25]]), torch.tensor([[0.1, 0.05]]), torch.tensor([0.6])
    view, clicked = choices(*given, torch.tensor(1.0))
    assert view.item() == pytest.approx(0.7241379, abs=1e-6)
    assert clicked.flatten().tolist() == pytest.approx([0.3428571, 0.1714286], abs=1e-6)
    # without a pull of the page on going on, 0.6 stays
    assert choices(*given, torch.tensor(0.0))[0].item() == pytest.approx(0.6)
    # the first item alone: mass 1.5, 0.9 / 1.3 going on, clicked with 0.4
    view, clicked = choices(given[0][:, :1], given[1][:, :1], given[2], torch.tensor(1.0))
    assert (view.item(), clicked.item()) == pytest.approx((0.9 / 1.3, 0.4))


def test_what_slates_led_by_each_item_lift_by_hand() -> None:
    # Why: of the ranking (2, 0) either item leads the same slate, of mass 1.75 and 2 + 1 gained by
    # clicks: 3 / 1.75. Item 1 stands in place of item 0: mass 1.5, 2 + 1, 3 / 1.5.
    gain, added = torch.tensor([[2.0, 4.0, 8.0]]), torch.tensor([[0.5, 0.25, 0.25]])
    ranked, go_on = torch.tensor([[2, 0]]), torch.tensor([0.6])
    view, found = led_by_each(gain, added, added, go_on, ranked, torch.tensor(0.0))
    assert view[0].tolist() == pytest.approx([0.6] * 3)
    assert found[0].tolist() == pytest.approx([3 / 1.75, 2.0, 3 / 1.75], abs=1e-6)
    # a click that counts twice doubles the gain; a page that pulls makes more shoppers go on
    view, found = led_by_each(gain, 2 * added, added, go_on, ranked, torch.tensor(1.0))
    assert view[0, 1].item() == pytest.approx(0.9 / 1.3, abs=1e-6)
    assert found[0, 1].item() == pytest.approx(2 * 3 / 1.5, abs=1e-6)


def test_what_an_item_adds_by_hand() -> None:
    # Why: the columns of two heads lie side by side. The item's vector (1, 2) and the taste (3, -1)
    # make 1; it sells (1, 0, 0, 2); the outputs weigh that by (1, 0, 0, 0) and (0, 0, 0, 5) and
    # have the constants 0.5 and -2: 1 + 1 + 0.5 and, at a slope of 2, 2 + 10 - 2.
    sales = torch.tensor([[[1.0, 0.0, 0.0, 0.0, 0.5], [0.0, 0.0, 0.0, 5.0, -2.0]]])
    none = torch.zeros(1, 2)
    values = Values(none, none, torch.tensor([[3.0, -1.0]]), sales)
    found = gains(
        values,
        torch.tensor([1.0, 2.0]),
        torch.tensor([[1.0, 2.0]]),
        torch.zeros(1, 1, dtype=torch.int64),
        torch.tensor([[[1.0, 0.0, 0.0, 2.0]]]),
    )
    assert found.flatten().tolist() == pytest.approx([2.5, 10.0])


def test_what_the_shopper_did_is_what_is_learned() -> None:
    # Why: Q0 = 1 of a find, Q- = -2 of no view, and an item that adds 5. An item that was found
    # alone is none of the page's, and who left has viewed nothing.
    one = torch.ones(3, 1)
    values = Values(one, -2.0 * one, one, one.unsqueeze(-1))
    rows = {"chosen": torch.tensor([4, -1, -1]), "viewed": torch.tensor([True, True, False])}
    assert of_choice(values, 5.0 * one, rows).flatten().tolist() == [6.0, 1.0, -2.0]


@kinds
def test_a_doubt_is_the_weights_on_the_state(head: Head) -> None:
    # Why: by hand, 5 tastes and 5 columns of sales for each of Z outputs, on 16 hidden units, all
    # at 0.1: 80 weights and 80 Z / Z make 1.6; constants count for nothing.
    network = network_of(head)
    assert float(network.doubt()) == 0.0
    with torch.no_grad():
        for layer in (network.taste, network.sales):
            layer.weight.fill_(0.1)
            layer.bias.fill_(7.0)
    assert float(network.doubt()) == pytest.approx(1.6)


@kinds
def test_an_item_is_first_worth_what_it_sells(head: Head) -> None:
    # Why: a good first page brings clicks to learn from. 1.2 at once and 2 in the cart, of which
    # 0.3 is paid: 1.8 above a find; random logits of Q0 bend the law that is tilted by it.
    values = network_of(head)(drawn(4, 7))
    sold = torch.tensor([1.2, 2.0, 0.7, 0.9]).expand(4, 1, NUM_SALES)
    item = torch.arange(4).unsqueeze(-1)
    found = gains(values, head.slope_Z, drawn(4, 5), item, sold)
    mean = advantages(head, values.null, found).flatten()
    assert mean.tolist() == pytest.approx([1.8] * 4, abs=0.35 if head.num_outputs > 3 else 1e-6)


@kinds
@pytest.mark.parametrize("chunk", [1, 100, 400, 1 << 20])
def test_the_whole_catalogue_is_as_its_items(
    head: Head, chunk: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Why: acting scores all items, learning some of them, and both must mean the same, however
    # many numbers are taken at once: 100 are the items of two lanes.
    monkeypatch.setattr(slateq, "CHUNK", chunk)
    monkeypatch.setattr(products, "CACHED", chunk)
    values, vector, sold = stirred(network_of(head))(drawn(4, 7)), drawn(9, 5), drawn(4, 9, 4)
    some = gains(values, head.slope_Z, vector, torch.arange(9).expand(4, 9), sold)
    expected = advantages(head, values.null, some)
    assert torch.allclose(all_advantages(head, values, vector, sold), expected, atol=1e-4)


@kinds
def test_without_duelling_an_item_has_no_part_in_a_find(head: Head) -> None:
    # Why: that is what the switch turns off: Q(s, i) stays where it is when Q0 moves.
    network, feature = stirred(network_of(head, duelling=False)), drawn(4, 7)
    item = drawn(9, 5), torch.arange(8).view(4, 2), drawn(4, 2, 4)

    def outputs() -> torch.Tensor:
        values: Values = network(feature)
        return values.null.unsqueeze(1) + gains(values, head.slope_Z, *item)

    before = outputs()
    with torch.no_grad():
        network.null.bias += torch.linspace(1.0, 2.0, head.num_outputs)
    assert torch.allclose(outputs(), before, atol=1e-4)
    network.duelling = True
    assert not torch.allclose(outputs(), before, atol=0.5)
