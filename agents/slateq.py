"""Values of items and of slates (SlateQ): the network, and the choice model that joins items.

Paper: Ie et al. 2019, "SlateQ", equations 14 to 16: Q(s, A) = sum over i in A of
P(i | s, A) Q(s, i), plus the value of what is no item of A, which SlateQ takes for 0. Here it has
two learned values: Q0(s) where something was found alone, and Q-(s) where nothing was viewed but
the session left or the cart paid. The choice model is the fitted user model's nested logit:

    Q(s, A) = P(view | s, A) (Q0(s) + sum over i in A of P(i | view, s, A) A(s, i))
              + (1 - P(view | s, A)) Q-(s)

One value for both would hold how often sessions end beside the pages met so far, and a page that
takes clicks from what is found anyway would seem to keep shoppers by as much. Their difference, of
which pages are chosen by the state, is learned as the items' worth is: it begins at 0, and
`agents.dqn` holds its weights on the state.

Item values are Q0(s) + A(s, i) with an advantage linear in the item's embedding and in what the
user model expects it to sell. That is the duelling architecture (Wang et al. 2016, "Dueling network
architectures", equation 7) with a find, whose advantage is 0, in place of their maximum (equation
8). Without duelling item values have no part in Q0: they are the second sum alone.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from agents import slates
from agents.distributions import Atoms, Branches, Head
from agents.noisy import Noise, NoisyLinear, draw
from agents.outlook import NUM_SALES, Outlook, sold_if_clicked
from recgym.lanes import Record
from recgym.types import Event, Kind, Observation
from recgym.users.products import match
from recgym.users.sequence import SequenceModel

CHUNK = 1 << 20  # numbers at once, where an item has more than one


@dataclass(frozen=True)
class Values(Record):
    """What the network says of a state, for each of Z outputs; `gains` reads it."""

    null: Tensor  # [N, Z] of what is found alone
    away: Tensor  # [N, Z] of leaving and of paying
    taste: Tensor  # [N, D] weights on an item's embedding
    sales: Tensor  # [N, Z, F + 1] weights on an item's sales features, and a constant


class SlateQNetwork(nn.Module):
    """Q0(s), Q-(s) and A(s, i); linear in the item's features, so that a catalogue is one product.

    Args:
        num_features: O, of the observation.
        embedding: D, of an item.
        hidden: width of the two layers.
        cart_paid: what money in the cart is worth, as a first guess.
        head: of what the outputs stand for.
        duelling: whether an item's value builds on Q0.
        sigma: of the noise on all weights; None: the weights have none.
    """

    def __init__(
        self,
        num_features: int,
        embedding: int,
        hidden: int,
        cart_paid: float,
        head: Head,
        *,
        duelling: bool = True,
        sigma: float | None = None,
    ) -> None:
        super().__init__()
        self.num_outputs, self.duelling, self.linear = head.num_outputs, duelling, head.linear

        def linear(inputs: int, outputs: int) -> nn.Linear:
            if sigma is None:
                return nn.Linear(inputs, outputs)
            return NoisyLinear(inputs, outputs, sigma)

        self.body = nn.Sequential(
            linear(num_features, hidden), nn.ReLU(), linear(hidden, hidden), nn.ReLU()
        )
        self.null = linear(hidden, head.num_outputs)
        self.stay = linear(hidden, head.num_outputs)
        self.taste = linear(hidden, embedding)
        self.sales = linear(hidden, head.num_outputs * (NUM_SALES + 1))
        # begin at "an item is worth what it sells", and who stays as much as who does not
        for layer in (self.taste, self.sales, self.stay):
            nn.init.zeros_(layer.weight)
            nn.init.zeros_(layer.bias)
        base_Z, slope_Z = head.base_Z.cpu(), head.slope_Z.cpu()
        with torch.no_grad():
            self.null.bias.add_(base_Z)
            sales_ZF = self.sales.bias.view(head.num_outputs, NUM_SALES + 1)
            sales_ZF[:, 0], sales_ZF[:, 1] = slope_Z, slope_Z * cart_paid
            if not duelling:
                sales_ZF[:, -1] = base_Z

    def doubt(self) -> Tensor:
        """Squared weights by which a state moves what pages are chosen by, a scalar; 0 at first.

        Those of staying count where they move a mean or quantiles; on a grid they shape the whole
        law of no view, which is another one than a find's.
        """
        each = self.sales.weight.square().sum()
        if self.linear:
            each = each + self.stay.weight.square().sum()
        return self.taste.weight.square().sum() + each / self.num_outputs

    def forward(self, feature_NO: Tensor, key_N: Tensor | None = None) -> Values:
        """Of states; noisy weights need a key of their noise, their means None."""
        noise: dict[nn.Module, Noise] = {}
        if key_N is not None:
            layers = [module for module in self.modules() if isinstance(module, NoisyLinear)]
            noise = dict(zip(layers, draw(layers, key_N), strict=True))

        def through(layer: nn.Module, x_NJ: Tensor) -> Tensor:
            found: Tensor = layer(x_NJ, noise[layer]) if layer in noise else layer(x_NJ)
            return found

        body_NH = feature_NO
        for layer in self.body:
            body_NH = through(layer, body_NH)
        null_NZ = through(self.null, body_NH)
        sales_NZF = through(self.sales, body_NH).view(-1, self.num_outputs, NUM_SALES + 1)
        if not self.duelling:
            constant_NZ1 = sales_NZF[..., -1:] - null_NZ.unsqueeze(-1)
            sales_NZF = torch.cat([sales_NZF[..., :-1], constant_NZ1], -1)
        away_NZ = null_NZ - through(self.stay, body_NH)
        return Values(null_NZ, away_NZ, through(self.taste, body_NH), sales_NZF)


def gains(
    values: Values, slope_Z: Tensor, vector_ID: Tensor, item_NJ: Tensor, sold_NJF: Tensor
) -> Tensor:
    """What J items a lane add to each output of what is found alone, [N, J, Z].

    Args:
        values: of the lanes.
        slope_Z: of the outputs, see `agents.distributions`.
        vector_ID: of the whole catalogue.
        item_NJ: int64; -1 for none stands for item 0.
        sold_NJF: what the user model expects these to sell.
    """
    like_N1J = match(item_NJ.clamp(min=0), vector_ID, values.taste.unsqueeze(1))
    return _gains(values, slope_Z, like_N1J.mT, sold_NJF)


def _gains(values: Values, slope_Z: Tensor, like_NJ1: Tensor, sold_NJF: Tensor) -> Tensor:
    worth_NJZ = torch.bmm(sold_NJF, values.sales[..., :-1].mT)
    return like_NJ1 * slope_Z + worth_NJZ + values.sales[..., -1].unsqueeze(1)


def advantages(head: Head, null_NZ: Tensor, gain_NJZ: Tensor) -> Tensor:
    """Mean return of each item above that of what is found alone, [N, J]."""
    if head.linear:
        return head.mean(gain_NJZ)
    return head.mean(null_NZ.unsqueeze(1) + gain_NJZ) - head.mean(null_NZ).unsqueeze(-1)


def all_advantages(head: Head, values: Values, vector_ID: Tensor, sold_NIF: Tensor) -> Tensor:
    """`advantages` of the whole catalogue, [N, I]."""
    like_NI = values.taste @ vector_ID.T
    if head.linear:
        sales_NF = values.sales.mean(1)
        worth_NI: Tensor = (sold_NIF * sales_NF[:, None, :-1]).sum(-1) + sales_NF[:, -1:]
        return like_NI + worth_NI
    found = []
    width = max(1, CHUNK // values.null.numel())
    for like_NJ, sold_NJF in zip(like_NI.split(width, 1), sold_NIF.split(width, 1), strict=True):
        gain_NJZ = _gains(values, head.slope_Z, like_NJ.unsqueeze(-1), sold_NJF)
        found.append(advantages(head, values.null, gain_NJZ))
    return torch.cat(found, 1)


def choices(
    added_NK: Tensor, taken_NK: Tensor, go_on_N: Tensor, page_weight: Tensor
) -> tuple[Tensor, Tensor]:
    """Of a slate: the probability of a view [N], and that a view is of item k, [N, K].

    Args:
        added_NK: mass that each item adds to what is found anyway.
        taken_NK: mass that it takes over from that.
        go_on_N: probability of going on from an empty page.
        page_weight: how much the page's mass pulls on going on.
    """
    mass_N = 1.0 + added_NK.sum(-1)
    view_N = slates.viewed(mass_N, go_on_N, page_weight)
    return view_N, (added_NK + taken_NK) / mass_N.unsqueeze(-1)


def chosen(model: SequenceModel, observation: Observation, event: Event) -> dict[str, Tensor]:
    """What the shopper did: `of_choice` reads these.

    ``chosen`` [N], the item clicked on the page, -1 without one; ``sold`` [N, F], 0 then;
    ``viewed`` [N] bool, whether it was an item at all, there or found alone.
    """
    clicked_N = event.slot >= 0
    sold_N1F = sold_if_clicked(model, observation, event.item.clamp(min=0).unsqueeze(-1))
    return {
        "chosen": torch.where(clicked_N, event.item, torch.full_like(event.item, -1)),
        "sold": sold_N1F[:, 0] * clicked_N.unsqueeze(-1),
        "viewed": event.kind == int(Kind.VIEW),
    }


def of_choice(values: Values, gain_NZ: Tensor, rows: dict[str, Tensor]) -> Tensor:
    """Outputs of what the shopper did, [N, Z]; ``gain_NZ`` is that of the item of ``rows``."""
    clicked_N1, viewed_N1 = (rows["chosen"] >= 0).unsqueeze(-1), rows["viewed"].unsqueeze(-1)
    return torch.where(viewed_N1, values.null + gain_NZ * clicked_N1, values.away)


def candidates(seen: Outlook, score_NI: Tensor, count: int) -> dict[str, Tensor]:
    """Columns of the ``count`` items that score best, C of them: `after_slate` reads these.

    ``candidate``, items [N, C]; ``added`` and ``taken`` [N, C], 0 for one that may not be shown;
    ``next_sold`` [N, C, F]; ``go_on`` [N].
    """
    best = score_NI.topk(count, -1)
    best_NC, allowed_NC = best.indices, best.values > -torch.inf
    index_NCF = best_NC.unsqueeze(-1).expand(-1, -1, NUM_SALES)
    return {
        "candidate": best_NC,
        "added": seen.added.gather(-1, best_NC) * allowed_NC,
        "taken": seen.taken.gather(-1, best_NC) * allowed_NC,
        "next_sold": seen.sold.gather(1, index_NCF),
        "go_on": seen.go_on,
    }


def after_slate(
    head: Head,
    values: Values,
    gain_NCZ: Tensor,
    rows: dict[str, Tensor],
    slate_NK: Tensor,
    page_weight: Tensor,
) -> Atoms:
    """The law of the return after the slate of candidates ``slate_NK``."""
    index_NKZ = slate_NK.unsqueeze(-1).expand(-1, -1, head.num_outputs)
    view_N, clicked_NK = choices(
        rows["added"].gather(-1, slate_NK),
        rows["taken"].gather(-1, slate_NK),
        rows["go_on"],
        page_weight,
    )
    gain_NKZ = gain_NCZ.gather(1, index_NKZ)
    return head.following(Branches(values.away, values.null, gain_NKZ, view_N, clicked_NK))


def led_by_each(
    gain_NM: Tensor,
    clicks_NM: Tensor,
    added_NM: Tensor,
    go_on_N: Tensor,
    drawn_NK: Tensor,
    page_weight: Tensor,
) -> tuple[Tensor, Tensor]:
    """Of M slates, of which slate i holds item i and others of one ranking.

    Returns:
        The probability of a view, and what a view then is worth above Q0, both [N, M].

    Args:
        gain_NM: A(s, i).
        clicks_NM: mass for which a click on the item is counted.
        added_NM: mass that it adds to what is found anyway.
        go_on_N: probability of going on from an empty page.
        drawn_NK: columns of the ranking's first K. Where item i is among them slate i is these K;
            else item i stands in place of the last.
        page_weight: as of `choices`.
    """
    drawn_NM = torch.zeros_like(gain_NM, dtype=torch.bool).scatter(-1, drawn_NK, True)

    def over_slate(each_NM: Tensor) -> Tensor:
        each_NK = each_NM.gather(-1, drawn_NK)
        whole_N1 = each_NK.sum(-1, keepdim=True)
        return torch.where(drawn_NM, whole_N1, whole_N1 - each_NK[:, -1:] + each_NM)

    mass_NM = 1.0 + over_slate(added_NM)
    view_NM = slates.viewed(mass_NM, go_on_N.unsqueeze(-1), page_weight)
    return view_NM, over_slate(clicks_NM * gain_NM) / mass_NM


def follow(target: nn.Module, network: nn.Module, rate: float) -> None:
    """Move the target network by this share of its way to the network that learns."""
    for old, new in zip(target.parameters(), network.parameters(), strict=True):
        old.lerp_(new, rate)
