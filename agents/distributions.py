"""What a network says of a return: its mean, its quantiles or its probabilities on a grid.

Papers: Dabney et al. 2018, "Distributional reinforcement learning with quantile regression",
equation 10 (quantile Huber loss); Bellemare, Dabney and Munos 2017, "A distributional perspective
on reinforcement learning", algorithm 1 (categorical projection). Deviation: after a slate the
return is a mixture over what the shopper does, so targets are *weighted* atoms: each clicked item
brings its own return with the probability of that click, as do a find and the end of viewing. The
losses take the weights exactly; nothing is drawn.

An item's advantage enters output z as slope_z * taste(s) · e_i + sales_z(s) · sold_i + bias_z(s).
For means and quantiles the slope is 1, so that a taste shifts the whole return and mean advantages
stay linear in the item. On a grid outputs are logits and the slope rises with the atom: a taste
tilts the law, and cross-entropy fits the tilt of an item so that its *mean* is right, since its
gradient is the mean's error. (The same slope for all would cancel in the softmax.) The law without
any features begins as a normal one around 0, which a tilt of its slope shifts by as much.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor
from torch.nn import functional as F  # noqa: N812

from recgym.errors import UserError
from recgym.lanes import Record

SPREAD = 1.0  # standard deviation of the first categorical law, in middle prices


@dataclass(frozen=True)
class Atoms(Record):
    """A law of returns of each row: values and their probabilities."""

    value: Tensor  # [N, T] middle prices
    weight: Tensor  # [N, T], of sum 1

    def mean(self) -> Tensor:
        """[N]."""
        return (self.weight * self.value).sum(-1)

    def before(self, reward_N: Tensor, discount_N: Tensor) -> Atoms:
        """The law as it is before these rewards, in which it is discounted."""
        value_NT = reward_N.unsqueeze(-1) + discount_N.unsqueeze(-1) * self.value
        return Atoms(value_NT, self.weight)


@dataclass(frozen=True)
class Branches(Record):
    """What may follow a slate of K items, by outputs [.., Z], and how probably."""

    away: Tensor  # [N, Z] of no view
    null: Tensor  # [N, Z] of a view of something found alone
    gain: Tensor  # [N, K, Z] of a view of each item, above that
    view: Tensor  # [N] probability of a view
    clicked: Tensor  # [N, K] that a view is of the item


class Head(Protocol):
    """How outputs [.., Z] of a network stand for the law of a return."""

    num_outputs: int  # Z
    linear: bool  # whether means are sums over an item's features
    slope_Z: Tensor  # how an item's taste enters each output
    base_Z: Tensor  # outputs at first

    def mean(self, output_XZ: Tensor) -> Tensor:
        """Of the law, [..]."""
        ...

    def following(self, page: Branches) -> Atoms:
        """The law after a slate."""
        ...

    def losses(self, output_NZ: Tensor, target: Atoms) -> Tensor:
        """Of each row, [N]."""
        ...


class Mean:
    """The mean alone, by Huber's loss.

    Args:
        device: of the network.
        largest_error: beyond which an error counts linearly, in middle prices.
    """

    num_outputs, linear = 1, True

    def __init__(self, device: torch.device, largest_error: float = 1.0) -> None:
        self.largest_error = largest_error
        self.slope_Z, self.base_Z = torch.ones(1, device=device), torch.zeros(1, device=device)

    def mean(self, output_XZ: Tensor) -> Tensor:
        """The output itself."""
        return output_XZ.squeeze(-1)

    def following(self, page: Branches) -> Atoms:
        """One atom: SlateQ, equation 14."""
        gain_N1 = (page.clicked * page.gain.squeeze(-1)).sum(-1, keepdim=True)
        value_N1 = torch.lerp(page.away, page.null + gain_N1, page.view.unsqueeze(-1))
        return Atoms(value_N1, torch.ones_like(value_N1))

    def losses(self, output_NZ: Tensor, target: Atoms) -> Tensor:
        """Huber's."""
        delta = self.largest_error
        return F.huber_loss(output_NZ, target.value, reduction="none", delta=delta).squeeze(-1)


class Quantiles:
    """Quantiles at the midpoints of Z equal shares.

    Args:
        num_outputs: Z.
        device: of the network.
    """

    linear = True

    def __init__(self, num_outputs: int, device: torch.device) -> None:
        self.num_outputs = num_outputs
        self.slope_Z = torch.ones(num_outputs, device=device)
        self.base_Z = torch.zeros(num_outputs, device=device)
        self.share_Z = (torch.arange(num_outputs, device=device) + 0.5) / num_outputs

    def mean(self, output_XZ: Tensor) -> Tensor:
        """Each quantile stands for as much of the law."""
        return output_XZ.mean(-1)

    def following(self, page: Branches) -> Atoms:
        """Z atoms of each item, of what is found alone and of no view."""
        view_N1 = page.view.unsqueeze(-1)
        found_N1 = view_N1 * (1.0 - page.clicked.sum(-1, keepdim=True))
        chance_NL = torch.cat([1.0 - view_N1, found_N1, view_N1 * page.clicked], -1)
        viewed_NLZ = page.null.unsqueeze(1) + F.pad(page.gain, (0, 0, 1, 0))
        value_NLZ = torch.cat([page.away.unsqueeze(1), viewed_NLZ], 1)
        weight_NLZ = (chance_NL / self.num_outputs).unsqueeze(-1).expand_as(value_NLZ)
        return Atoms(value_NLZ.flatten(1), weight_NLZ.flatten(1))

    def losses(self, output_NZ: Tensor, target: Atoms) -> Tensor:
        """Quantile Huber loss with kappa = 1 (equation 10), summed over quantiles."""
        output_NZT, value_NZT = torch.broadcast_tensors(
            output_NZ.unsqueeze(-1), target.value.unsqueeze(1)
        )
        share_Z1 = self.share_Z.unsqueeze(-1)
        slant_NZT = torch.where(value_NZT < output_NZT, 1.0 - share_Z1, share_Z1)
        huber_NZT = F.smooth_l1_loss(output_NZT, value_NZT, reduction="none")
        return torch.bmm(slant_NZT * huber_NZT, target.weight.unsqueeze(-1)).sum((-1, -2))


class Categorical:
    """Probabilities of Z atoms on an even grid, from logits.

    Args:
        num_outputs: Z.
        support: the lowest and the highest atom, in middle prices; returns beyond count as these.
        device: of the network.
    """

    linear = False

    def __init__(
        self, num_outputs: int, support: tuple[float, float], device: torch.device
    ) -> None:
        low, high = support
        if num_outputs < 2 or not low <= 0.0 < high:
            raise UserError(
                f"agent.num_atoms={num_outputs}, agent.support=[{low:g}, {high:g}]: expected at "
                "least 2 atoms on a range that holds 0, such as [-5, 20]."
            )
        self.num_outputs = num_outputs
        self.atom_Z = torch.linspace(low, high, num_outputs, device=device)
        self.step = (high - low) / (num_outputs - 1)
        spread = max(SPREAD, self.step)  # a law narrower than the grid would not move along it
        self.slope_Z = self.atom_Z / spread**2
        self.base_Z = -0.5 * (self.atom_Z / spread) ** 2

    def mean(self, output_XZ: Tensor) -> Tensor:
        """Of the atoms."""
        return output_XZ.softmax(-1) @ self.atom_Z

    def following(self, page: Branches) -> Atoms:
        """All share one grid, so that the mixture has Z atoms again."""
        item_NKZ = (page.null.unsqueeze(1) + page.gain).softmax(-1)
        found_NZ = page.null.softmax(-1) * (1.0 - page.clicked.sum(-1, keepdim=True))
        viewed_NZ = found_NZ + (page.clicked.unsqueeze(-1) * item_NKZ).sum(1)
        share_NZ = torch.lerp(page.away.softmax(-1), viewed_NZ, page.view.unsqueeze(-1))
        return Atoms(self.atom_Z.expand_as(share_NZ), share_NZ)

    def project(self, target: Atoms) -> Tensor:
        """The law on the grid, [N, Z]: each atom is shared by its two neighbours (algorithm 1)."""
        place_NT = ((target.value - self.atom_Z[0]) / self.step).clamp(0, self.num_outputs - 1)
        below_NT = place_NT.floor().clamp(max=self.num_outputs - 2)
        upper_NT = target.weight * (place_NT - below_NT)
        index_NT = below_NT.long()
        found_NZ = target.value.new_zeros(len(place_NT), self.num_outputs)
        found_NZ.scatter_add_(-1, index_NT, target.weight - upper_NT)
        return found_NZ.scatter_add_(-1, index_NT + 1, upper_NT)

    def losses(self, output_NZ: Tensor, target: Atoms) -> Tensor:
        """Kullback-Leibler divergence: cross-entropy less the target's own entropy."""
        share_NZ = self.project(target)
        apart_NZ = torch.xlogy(share_NZ, share_NZ) - share_NZ * output_NZ.log_softmax(-1)
        return apart_NZ.sum(-1)


def head_of(
    returns: str,
    num_atoms: int,
    support: tuple[float, float],
    device: torch.device,
    largest_error: float = 1.0,
) -> Head:
    """The head of a setting ``agent.returns``."""
    if returns == "mean":
        return Mean(device, largest_error)
    if returns == "quantiles":
        return Quantiles(num_atoms, device)
    if returns == "categorical":
        return Categorical(num_atoms, support, device)
    raise UserError(f"agent.returns={returns}: expected mean, quantiles or categorical.")
