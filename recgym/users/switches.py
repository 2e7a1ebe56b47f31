"""What a fit may do beside plain maximum likelihood; every one of these is off by default.

All of them bend what is fitted, so that the last epochs (`FitSettings.calm_share`) run without
masks and adversary, and weights are taken out of the levels again.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn

from recgym.types import After, Event, Kind, Page
from recgym.users.likelihood import LogProb
from recgym.users.sequence import SequenceModel


def outcome_weights(event: Event, power: float) -> Tensor:
    """How much what follows a view counts in the loss, [4] in the order of `After`.

    Rare outcomes weigh more, by their count to the power of ``-power``: 0 weighs all alike, 1 gives
    all outcomes the same say. Scaled to a mean of 1 over the views (weighting as in King and Zeng
    2001, "Logistic regression in rare events data", section 4.2). What never happened weighs as
    what mostly does.
    """
    count_4 = _outcomes(event)
    raw_4 = torch.where(count_4 > 0, count_4, count_4.max()).pow(-power)
    return raw_4 * count_4.sum() / (raw_4 * count_4).sum()


def _outcomes(event: Event) -> Tensor:
    """How often each outcome followed a view, [4]."""
    after_n = event.after[event.kind == int(Kind.VIEW)]
    return torch.bincount(after_n, minlength=len(After)).double()


def weighted(value: LogProb, event: Event, page: Page, weight_4: Tensor | None) -> Tensor:
    """The log-likelihood of each step in a loss, [n], with what follows a view weighted."""
    after_n = value.after
    if weight_4 is not None:
        after_n = weight_4.to(after_n)[event.after] * after_n
    if page.weight is not None:
        after_n = clicked_weight(page.weight, event) * after_n
    return value.choice + after_n + value.gap


def clicked_weight(weight_nK: Tensor, event: Event) -> Tensor:
    """The weight of the slot clicked, and 1 where none was, [n]."""
    weight_n = weight_nK.gather(-1, event.slot.clamp(min=0).unsqueeze(-1)).squeeze(-1)
    return torch.where(event.slot >= 0, weight_n, torch.ones_like(weight_n))


def prior_shift(event: Event, weight_4: Tensor) -> Tensor:
    """How far the weights lift the levels of buy, cart and favourite, [3].

    Of a weighted multinomial logit the maximum is the unweighted one with its odds times the
    weights (King and Zeng 2001, equation 7): each of the three logits, among what those before it
    left, moves by the log of its weight over the mean weight of the rest. Taste and prices do not.
    The mean is over all views and not those of one shopper, so that rates are nearly right; what is
    left to do, `polish` and `centre` do.
    """
    shifts, rest_4 = [], _outcomes(event)
    for after in (After.BUY, After.CART, After.FAVOURITE):
        rest_4[int(after)] = 0.0
        mean = (rest_4 * weight_4).sum() / rest_4.sum().clamp(min=1.0)
        shifts.append((weight_4[int(after)] / mean).log())
    return torch.stack(shifts)


@contextmanager
def unweighted(model: SequenceModel, shift_3: Tensor | None) -> Iterator[None]:
    """The model as it is to be used, its levels less the `prior_shift`, until the block ends."""
    if shift_3 is None:
        yield
        return
    _, level_7 = model.heads.of("level")
    before_7 = level_7.detach().clone()
    with torch.no_grad():
        level_7[1:4] -= shift_3.to(level_7)
    try:
        yield
    finally:
        with torch.no_grad():
            level_7.copy_(before_7)


def events_read(count: int, masked: float, generator: torch.Generator) -> Tensor | None:
    """Which of so many events the memory reads, [n] bool, the others at random; None: all.

    An event that is masked is a row of zeros to the memory, as one that surprised nobody (Devlin et
    al. 2019, "BERT", section 3.1, with zeros for the token; over events of sessions Sun et al.
    2019, "BERT4Rec", section 3.6). It is still what is predicted, with its page, and still counts
    in tallies, beliefs and segments: no history is made up that no shopper has. Events are neither
    dropped nor sessions cropped, as by Xie et al. 2022, "Contrastive learning for sequential
    recommendation": both change how often shoppers leave and buy.
    """
    if not masked:
        return None
    return torch.rand(count, generator=generator) >= masked


def add_adversary(vector: nn.Parameter, loss_of: Callable[[], Tensor], size: float) -> Tensor:
    """Add the gradient where the loss is worst nearby; returns the loss there.

    Rows of ``vector`` are moved by ``size`` along their gradients, which a backward pass has just
    left, and back again (He et al. 2018, "Adversarial personalized ranking for recommendation",
    section 3, with a weight of 1 on the adversary; the fast gradient method of Goodfellow, Shlens
    and Szegedy 2015, "Explaining and harnessing adversarial examples", by Euclidean length). Rows
    without a gradient stay.
    """
    before, gradient = vector.detach().clone(), vector.grad
    assert gradient is not None
    length = gradient.norm(dim=-1, keepdim=True)
    step = size * gradient / length.clamp(min=torch.finfo(length.dtype).tiny)
    with torch.no_grad():
        vector.add_(step)
    loss = loss_of()
    loss.backward()
    with torch.no_grad():
        vector.copy_(before)
    return loss
