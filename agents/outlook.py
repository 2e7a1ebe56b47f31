"""What a fitted user model says of every item in a state: what the agents' values build on."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeVar

import torch
from torch import Tensor

from agents.baselines import alone, empty_page_law
from recgym import choice
from recgym.compiling import compiled
from recgym.errors import UserError
from recgym.lanes import Record
from recgym.types import Kind, Observation, Page
from recgym.users.base import AfterLogits
from recgym.users.sequence import SequenceModel
from recgym.users.states import SequenceState, Supposed

NUM_SALES = 4  # F, item features of `sales`
NUM_SIGNS = NUM_SALES + 2  # S, features of a retrieved item beside its vector
LEAST = 1e-6  # of a share or of money, before a logarithm
Found = TypeVar("Found", Tensor, dict[str, Tensor])
CELLS = 1 << 23  # lanes times items looked at at once: a tensor of them takes 32 MiB
CELLS_CUDA = 1 << 28  # on a GPU, which is slow at small ones: 1 GiB


@dataclass(frozen=True)
class Outlook(Record):
    """What the user model says of items, were each shown alone: of all I or of J of them."""

    go_on: Tensor  # [N] probability of going on from an empty page
    added: Tensor  # [N, J] mass that the item would add in the first slot
    taken: Tensor  # [N, J] mass that it would take over from what is found anyway
    sold: Tensor  # [N, J, F] see `sales`


def outlook(model: SequenceModel, observation: Observation) -> Outlook:
    """Of the shopper whom the model takes for typical in each lane's state."""
    visit, price_NI, supposed = observation.visit, observation.price, typical(model, observation)
    law = empty_page_law(model, supposed, visit)
    added_NI, taken_NI = alone(model, supposed, law, visit, price_NI)
    return Outlook(
        go_on=law.upper[:, int(Kind.VIEW)].exp(),
        added=added_NI,
        taken=taken_NI,
        sold=sales(model, model.after(supposed, None, price_NI, True), price_NI),
    )


def outlook_of(model: SequenceModel, observation: Observation, item_NJ: Tensor) -> Outlook:
    """The same of these items alone; -1 stands for none, which adds and takes nothing."""
    visit, supposed = observation.visit, typical(model, observation)
    price_NJ = observation.catalog.price_of(item_NJ.clamp(min=0), visit.time_ms)
    num_lanes, num_items = item_NJ.shape
    lane_X = torch.arange(num_lanes, device=item_NJ.device).repeat_interleave(num_items)
    page, now = Page(item_NJ.reshape(-1, 1), price_NJ.reshape(-1, 1)), visit.lanes(lane_X)
    law = choice.law(model.respond(supposed.lanes(lane_X), page, now), now)
    return Outlook(
        go_on=empty_page_law(model, supposed, visit).upper[:, int(Kind.VIEW)].exp(),
        added=law.added.view_as(item_NJ),
        taken=law.taken().view_as(item_NJ),
        sold=sales(model, model.after(supposed, item_NJ.clamp(min=0), price_NJ, True), price_NJ),
    )


def in_parts(
    observation: Observation, function: Callable[[Observation], Found], width: int
) -> Found:
    """What a function says of each lane, [N, ...], asked for some lanes after others.

    It looks at ``width`` items a lane: its memory grows no more once that makes `CELLS`.
    """
    cells = CELLS_CUDA if observation.feature.is_cuda else CELLS
    count, size = len(observation.feature), max(1, cells // width)
    if count <= size:
        return function(observation)
    parts = [function(observation.lanes(slice(at, at + size))) for at in range(0, count, size)]
    first = parts[0]
    if isinstance(first, Tensor):
        return torch.cat(parts)
    return {name: torch.cat([part[name] for part in parts]) for name in first}


def sold_if_clicked(model: SequenceModel, observation: Observation, item_NJ: Tensor) -> Tensor:
    """`sales` of these items alone, [N, J, F]."""
    price_NJ = observation.catalog.price_of(item_NJ, observation.visit.time_ms)
    after = model.after(typical(model, observation), item_NJ, price_NJ, True)
    return sales(model, after, price_NJ)


@dataclass(frozen=True)
class Retrieved(Record):
    """The M items of each lane that the user model expects to bring most if shown alone."""

    item: Tensor  # [N, M] int64, the best first; -1 where fewer may be shown
    sign: Tensor  # [N, M, S] log of the expected money, log of the mass added, sales features
    go_on: Tensor  # [N] this and the next two as in `Outlook`
    added: Tensor  # [N, M]
    taken: Tensor  # [N, M]

    @property
    def seen(self) -> Outlook:
        """What the user model says of them."""
        return Outlook(self.go_on, self.added, self.taken, self.sign[..., -NUM_SALES:])

    def place(self, item_NK: Tensor) -> Tensor:
        """Columns at which these items stand, [N, K] int64; -1 for an empty slot or none of M."""
        same_NKM = (item_NK.unsqueeze(-1) == self.item.unsqueeze(1)) & (item_NK >= 0).unsqueeze(-1)
        return torch.where(same_NKM.any(-1), same_NKM.int().argmax(-1), -1)


class Retriever:
    """Retrieves, and remembers the last page: what was acted on is stored next.

    Args:
        model: whose outlook ranks the items.
        cart_paid: share of carted items that are paid in the end.
        num_candidates: M.
    """

    def __init__(self, model: SequenceModel, cart_paid: float, num_candidates: int) -> None:
        self.model, self.cart_paid = model, cart_paid
        self.num_candidates = min(num_candidates, model.catalog.num_items)
        self._last: tuple[Observation, Retrieved] | None = None
        self._seek = self._sought

    def compile(self) -> None:
        """Retrieve by `recgym.compiling`."""
        self._seek = compiled(self._sought)

    @torch.no_grad()
    def __call__(self, observation: Observation) -> Retrieved:
        """Of each lane."""
        if self._last is None or self._last[0] is not observation:
            self._last = observation, self._seek(observation)
        return self._last[1]

    def _sought(self, observation: Observation) -> Retrieved:
        return Retrieved(**in_parts(observation, self._found, self.model.catalog.num_items))

    def _found(self, observation: Observation) -> dict[str, Tensor]:
        seen = outlook(self.model, observation)
        money_NI = seen.sold[..., 0] + self.cart_paid * seen.sold[..., 1]
        score_NI = (seen.added + seen.taken) / (1.0 + seen.added) * money_NI
        best = score_NI.masked_fill(~observation.eligible, -torch.inf).topk(self.num_candidates, -1)
        index_NMF = best.indices.unsqueeze(-1).expand(-1, -1, NUM_SALES)
        added_NM = seen.added.gather(-1, best.indices)
        logs_NM2 = torch.stack([best.values, added_NM], -1).clamp(min=LEAST).log()
        return {
            "item": best.indices.masked_fill(best.values == -torch.inf, -1),
            "sign": torch.cat([logs_NM2, seen.sold.gather(1, index_NMF)], -1),
            "go_on": seen.go_on,
            "added": added_NM,
            "taken": seen.taken.gather(-1, best.indices),
        }


def fitted(model: SequenceModel | None, needing: str) -> SequenceModel:
    """The model, where the shop has one; ``needing`` says who does what with it."""
    if model is None:
        raise UserError(
            f"{needing} through a fitted user model, and this shop has none: train on "
            "shop='model:DIR'."
        )
    return model


def typical(model: SequenceModel, observation: Observation) -> Supposed:
    """The mean over what is still open about each shopper, as one shopper."""
    assert isinstance(observation.encoder, SequenceState)
    return model.typical(model.read(observation.encoder))


def sales(model: SequenceModel, after: AfterLogits, price_NJ: Tensor) -> Tensor:
    """Sales features of items, [N, J, F].

    The money that a view brings at once and the money that it puts into the cart (both in units of
    the middle price), the price's logarithm, the chance that anything is sold.
    """
    buy_NJ = torch.sigmoid(after.buy)
    cart_NJ = (1.0 - buy_NJ) * torch.sigmoid(after.cart)
    dear_NJ = price_NJ.clamp(min=1e-6).log() - model.tables.mean_log_price
    money_NJ = price_NJ / middle_price(model)
    return torch.stack([buy_NJ * money_NJ, cart_NJ * money_NJ, dear_NJ, buy_NJ + cart_NJ], -1)


def middle_price(model: SequenceModel) -> Tensor:
    """The catalogue's, in currency units: rewards count in it, so that one rate fits all shops."""
    return model.tables.mean_log_price.exp()
