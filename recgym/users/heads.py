"""All heads of a user model: one linear layer, and what each segment adds to it."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812

from recgym.users.states import NUM_FADING, Levels
from recgym.users.surprises import HAZARD, NUM_TALLIES
from recgym.users.tastes import Tastes

BLOCK = 16  # rows of a weight that a matrix product takes at once, about
INITIAL_SLOPE = 1.0  # before softplus, 1.3 after; surveys of sales lie at 1 to 4
LEVEL_SPREAD = 2.0  # logits of buying between the middle and either end of the segments, at first


class Said(NamedTuple):
    """The heads of N shoppers."""

    category: Tensor  # [N, D] query of the categories searched
    latent: Tensor  # [N, Z] logits of the latent classes
    gate: Tensor  # [N, G] logits of the segments
    shared: Tensor  # [N, S] the heads that a segment adds to, see `parts`


class Heads(nn.Module):
    """Reads [N, W]: the memory's output, context, squashed tallies, satiety, belief, views.

    Args:
        hidden, num_context: columns of the memory's output and of the context.
        embedding, classes, segments, num_tastes: D, Z, G and V.
    """

    reads: Tensor  # [., W], 0 where a head may not read

    def __init__(
        self,
        hidden: int,
        num_context: int,
        *,
        embedding: int,
        classes: int,
        segments: int,
        num_tastes: int,
    ) -> None:
        super().__init__()
        self.hidden = hidden
        # how many columns heads other than those of the search may read; they come first
        self.tallies = hidden + num_context  # where these begin; satiety follows them
        self.known = self.tallies + NUM_TALLIES + 1
        self.of_segment = {
            "clicked": embedding,
            "worth": embedding,
            "level": 7,
            "upper": 2,
            "slope": 2,
            "usual_slope": 2,
        }
        self.sizes = {
            "category": embedding, "latent": classes, "gate": segments, **self.of_segment
        }  # fmt: skip
        # a product of whole blocks of rows is twice as fast as one with a few rows more
        self.sizes["unused"] = -sum(self.sizes.values()) % BLOCK
        self.segment_offset = nn.Parameter(torch.zeros(segments, sum(self.of_segment.values())))
        # how far each of the means of what was viewed draws clicks to what is like it
        self.draw = nn.Parameter(torch.zeros(NUM_FADING))
        wide = self.known + num_tastes + NUM_FADING * embedding
        self.linear = nn.Linear(wide, sum(self.sizes.values()))
        self.register_buffer("reads", torch.ones_like(self.linear.weight))
        with torch.no_grad():
            self._limit_reading()

    def _limit_reading(self) -> None:
        """Keep apart what moves what.

        The mark of what was viewed, and as a feature what of the belief no page passed over told,
        colour the search alone; how it draws clicks, `weight` says. Tastes for what is shown, for
        what is bought and for what is dear follow the belief, by its loads, and not the memory, to
        which a shopper of whom little is known and one who is known to be average are the same. How
        much a move of a price deters is a matter of the profile.

        Levels of clicks and sales are the segments', told apart by Bayes' rule. Levels that read
        the memory or sums of surprises besides leave segments too alike: who took nothing of what
        others take is then told by what went with it on the log's pages, and too weakly on pages of
        which more is taken. Levels that read the hazard survived, or how sated somebody is, would
        say once more who is still there, and rise where better pages keep everybody. The memory
        moves the segments' shares, leaving and the search; orders and views count for levels too,
        since who has ordered wants less.
        """
        searching, known = self.rows("latent").stop, self.known
        self.reads[searching:, known:] = 0.0
        for name in ("clicked", "worth", "level", "slope", "usual_slope"):
            self.reads[self.rows(name), : self.hidden] = 0.0
        self.reads[self.rows("slope"), self.tallies :] = 0.0
        sated = self.tallies + NUM_TALLIES
        self.reads[self.rows("level"), self.tallies : self.tallies + HAZARD + 1] = 0.0
        self.reads[self.rows("level"), sated] = 0.0
        self.linear.weight[:, known:] = 0.0  # at first neither says anything

    @torch.no_grad()
    def begin(self) -> None:
        """Where a fit begins."""
        self.of("slope")[1].fill_(INITIAL_SLOPE)
        weight, bias = self.of("usual_slope")
        weight.zero_()
        bias.fill_(1.0)
        weight, bias = self.of("level")
        weight[4:].zero_()
        bias[4:].zero_()
        # at first who buys stays, and a little of everything else tells segments apart: equal ones
        # would have equal gradients for ever
        self.segment_offset.normal_(std=0.1)
        count = len(self.segment_offset)
        spread_G = torch.linspace(-1.0, 1.0, count) if count > 1 else torch.zeros(1)
        self.offset("level")[:, 1:3] = LEVEL_SPREAD * spread_G.unsqueeze(-1)
        self.offset("upper").copy_(spread_G.unsqueeze(-1) * torch.tensor([-1.0, 1.0]))

    def rows(self, name: str) -> slice:
        """Of one of the heads."""
        return _place(self.sizes, name)

    def of(self, name: str) -> tuple[Tensor, Tensor]:
        """Weight [., W] and bias [.] of one of the heads, as views."""
        rows = self.rows(name)
        return self.linear.weight[rows], self.linear.bias[rows]

    def columns(self, name: str) -> slice:
        """Of one of the heads that a segment adds to, within `Said.shared`."""
        return _place(self.of_segment, name)

    def offset(self, name: str) -> Tensor:
        """What each segment adds to one of the heads, [G, .], as a view."""
        return self.segment_offset[:, self.columns(name)]

    def weight(self, tastes: Tastes) -> Tensor:
        """As it is now, without what a head may not read, [., W].

        What was viewed draws clicks to what is like it, as far as `draw` says. Alike are items that
        the same tastes speak to, so that two items' likeness is the product of their loads. A free
        matrix here would take a taste that was there before for the mark that a view leaves.
        """
        like_DD = tastes.click.T @ tastes.click
        drawn_DY = torch.cat([one * like_DD for one in self.draw.unbind()], -1)
        rows, count = self.rows("clicked"), len(self.linear.weight)
        around = (self.linear.in_features - drawn_DY.shape[1], 0, rows.start, count - rows.stop)
        return self.linear.weight * self.reads + F.pad(drawn_DY, around)

    def of_tastes(self, tastes: Tastes, cart_scale: Tensor) -> Tensor:
        """What each taste adds to `Said.shared`, [V, S].

        A slope on prices takes away, and takes from a cart's logit as it is, while worth acts on it
        by ``cart_scale``.
        """
        added = tastes.of_heads()
        click_V1, worth_V1 = added["usual_slope"].split(1, -1)
        added["usual_slope"] = -torch.cat([click_V1, worth_V1 * cart_scale], -1)
        sizes, count = self.of_segment.items(), len(tastes.click)
        none = {name: tastes.click.new_zeros(count, size) for name, size in sizes}
        return torch.cat([*(none | added).values()], -1)

    def forward(self, wide_NW: Tensor, weight_HW: Tensor) -> Said:
        """All heads at once; ``weight_HW`` is the `weight`, which many steps share."""
        sizes = list(self.sizes.values())
        parts = [*sizes[:3], self.segment_offset.shape[1], sizes[-1]]
        category, latent, gate, shared, _ = F.linear(
            wide_NW, weight_HW, self.linear.bias
        ).split(parts, -1)  # fmt: skip
        return Said(category, latent, gate, shared)

    def parts(self, shared: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Queries of what is clicked and of worth, and the rest, of [., S]; see `levels`."""
        clicked, worth, *levels = self.of_segment.values()
        clicked_XD, worth_XD, levels_XL = shared.split([clicked, worth, sum(levels)], -1)
        return clicked_XD, worth_XD, levels_XL

    def levels(self, heads_NL: Tensor) -> Levels:
        """Of the last of the `parts`; a softplus keeps the slopes on prices from turning."""
        sizes = list(self.of_segment.values())[2:]
        level, upper, slope, usual_slope = heads_NL.split(sizes, -1)
        return Levels(level, upper, F.softplus(slope), usual_slope)


def _place(sizes: dict[str, int], name: str) -> slice:
    names = list(sizes)
    first = sum(sizes[other] for other in names[: names.index(name)])
    return slice(first, first + sizes[name])
