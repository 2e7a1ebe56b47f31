"""What a fitted user model says of every item in a state: what the agents' values build on."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from agents.baselines import alone, empty_page_law
from recgym.types import Kind, Observation, Record
from recgym.users.base import AfterLogits
from recgym.users.lstm import LSTMState, LSTMUserModel, Supposed

NUM_SALES = 4  # F, item features of `sales`


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
    dear_NJ = price_NJ.clamp(min=1e-6).log() - model.mean_log_price
    money_NJ = price_NJ / middle_price(model)
    return torch.stack([buy_NJ * money_NJ, cart_NJ * money_NJ, dear_NJ, buy_NJ + cart_NJ], -1)


def middle_price(model: LSTMUserModel) -> Tensor:
    """The catalogue's, in currency units: rewards count in it, so that one rate fits all shops."""
    return model.mean_log_price.exp()
