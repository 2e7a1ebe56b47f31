"""What a fitted user model says of every item in a state: what the agents' values build on."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from agents.baselines import alone, empty_page_law
from recgym.compiling import compiled
from recgym.errors import UserError
from recgym.types import Kind, Observation, Record
from recgym.users.base import AfterLogits
from recgym.users.lstm import LSTMUserModel
from recgym.users.states import LSTMState, Supposed

NUM_SALES = 4  # F, item features of `sales`
NUM_SIGNS = NUM_SALES + 2  # S, features of a retrieved item beside its vector
LEAST = 1e-6  # of a share or of money, before a logarithm


@dataclass(frozen=True)
class Outlook(Record):
    """What the user model says of every item, were it shown alone."""

    go_on: Tensor  # [N] probability of going on from an empty page
    added: Tensor  # [N, I] mass that the item would add in the first slot
    taken: Tensor  # [N, I] mass that it would take over from what is found anyway
    sold: Tensor  # [N, I, F] see `sales`


def outlook(model: LSTMUserModel, observation: Observation) -> Outlook:
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


def sold_if_clicked(model: LSTMUserModel, observation: Observation, item_NJ: Tensor) -> Tensor:
    """`sales` of these items alone, [N, J, F]."""
    price_NJ = observation.catalog.price_of(item_NJ, observation.visit.time_ms)
    after = model.after(typical(model, observation), item_NJ, price_NJ, True)
    return sales(model, after, price_NJ)


@dataclass(frozen=True)
class Retrieved(Record):
    """The M items of each lane that the user model expects to bring most if shown alone."""

    item: Tensor  # [N, M] int64, the best first; -1 where fewer may be shown
    sign: Tensor  # [N, M, S] log of the expected money, log of the mass added, sales features
    added: Tensor  # [N, M], `taken` [N, M] and `go_on` [N] as in `Outlook`
    taken: Tensor
    go_on: Tensor

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

    def __init__(self, model: LSTMUserModel, cart_paid: float, num_candidates: int) -> None:
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
        seen = outlook(self.model, observation)
        money_NI = seen.sold[..., 0] + self.cart_paid * seen.sold[..., 1]
        score_NI = (seen.added + seen.taken) / (1.0 + seen.added) * money_NI
        best = score_NI.masked_fill(~observation.eligible, -torch.inf).topk(self.num_candidates, -1)
        index_NMF = best.indices.unsqueeze(-1).expand(-1, -1, NUM_SALES)
        added_NM = seen.added.gather(-1, best.indices)
        logs = best.values, added_NM
        return Retrieved(
            item=best.indices.masked_fill(best.values == -torch.inf, -1),
            sign=torch.cat(
                [torch.stack(logs, -1).clamp(min=LEAST).log(), seen.sold.gather(1, index_NMF)], -1
            ),
            added=added_NM,
            taken=seen.taken.gather(-1, best.indices),
            go_on=seen.go_on,
        )


def fitted(model: LSTMUserModel | None, needing: str) -> LSTMUserModel:
    """The model, where the shop has one; ``needing`` says who does what with it."""
    if model is None:
        raise UserError(
            f"{needing} through a fitted user model, and this shop has none: train on "
            "shop='model:DIR'."
        )
    return model


def typical(model: LSTMUserModel, observation: Observation) -> Supposed:
    """The mean over what is still open about each shopper, as one shopper."""
    assert isinstance(observation.encoder, LSTMState)
    return model.typical(model.read(observation.encoder))


def sales(model: LSTMUserModel, after: AfterLogits, price_NJ: Tensor) -> Tensor:
    """Sales features of items, [N, J, F].

    The money that a view brings at once and the money that it puts into the cart (both in units of
    the middle price), the price's logarithm, the chance that anything is sold.
    """
    buy_NJ = torch.sigmoid(after.buy)
    cart_NJ = (1.0 - buy_NJ) * torch.sigmoid(after.cart)
    dear_NJ = price_NJ.clamp(min=1e-6).log() - model.tables.mean_log_price
    money_NJ = price_NJ / middle_price(model)
    return torch.stack([buy_NJ * money_NJ, cart_NJ * money_NJ, dear_NJ, buy_NJ + cart_NJ], -1)


def middle_price(model: LSTMUserModel) -> Tensor:
    """The catalogue's, in currency units: rewards count in it, so that one rate fits all shops."""
    return model.tables.mean_log_price.exp()
