"""What is believed of a shopper's own taste: a Gaussian, moved by Bayes' rule page by page.

Beside what profile and segment say, each shopper has a taste z ~ N(0, 1) of a few dimensions, which
moves the mass of what is shown and the logits of selling it. What is found alone speaks of it too:
a surprise there counts as an observation of z, as strong as its load. After each event the
belief N(m, P) moves by the score of what happened and the information in it, an extended Kalman
filter for multinomial logits (Fahrmeir 1992, "Posterior mode estimation by extended Kalman
filtering for multivariate dynamic generalized linear models", equations 3.4 and 3.5):

    P' = (1 / P + J)^-1,  m' = m + P' g

What a click says and how much is left unsaid are thus one thing. An LSTM alone learns the first
from the pages of the log and knows nothing of the second: a site that fills its pages with what
the shopper seems to like would learn from each click there as from a click on a mixed page, and
all of a page's slots would please or fail alone, where one taste pleases or fails them together.

What pages told that were passed over is also kept apart (`Belief.passed`). The memory, which moves
the search, reads what was found and what sold, and not which items were passed over. As one taste
may be behind what is clicked and what is looked for, that part of the belief moves the search by
the loads of finds (`Items.found`), and by nothing that is free: on a log's pages those who pass one
over hardly look for anything else than others, and weights fitted to so little are noise, of either
sign where a page pleases more.

How dear an item usually is has loads of its own: vectors, which have all of an item to say in a few
numbers, hold less than half of it, and who balks at prices balks at clicking and at buying alike.

Information adds up, so a fit has the beliefs of all steps at once from sums along the sessions.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from recgym.lanes import Record, Shared, rows
from recgym.types import After, Event, Kind, Page
from recgym.users.products import times
from recgym.users.surprises import Expectation

NUM_TASTES = 8  # V, dimensions of taste, where nothing else is said
# Of a page's common taste in standard deviations, each of weight 1/2: the Gauss-Hermite rule of
# order 2, exact for polynomials of degree 3
NODES = (-1.0, 1.0)
MOST_VARIANCE = 4.0  # of a logit: beyond, the second order would let a chance fall as it rises
TINY = 1e-6  # a variance: the square root of 0 has no gradient
CLICK_LOAD, SALE_LOAD = 0.5, 0.2  # standard deviations of the loads that a fit begins with
PRICE_LOAD = 0.1  # and of those on an item's usual log price
TOLD = (1.0, 0.05)  # slope and precision of a slot's `Page.told` that a fit begins with


@dataclass(frozen=True)
class Belief(Record):
    """Of a shopper's own taste, given all that happened."""

    mean: Tensor  # [N, V]
    passed: Tensor  # [N, V] what of the mean was told by pages that were passed over
    precision: Tensor  # [N, V, V] to which information adds up
    covariance: Tensor  # [N, V, V] its inverse


@dataclass(frozen=True)
class Loads(Shared):
    """How much each taste moves each item."""

    click_IV: Tensor  # the log-mass of its slot
    sale_IV: Tensor  # the logits of buying, carting and favouring it, before their scales
    find_IV: Tensor  # its being found alone, by so much as counts
    # what a click tells before it is known what follows: what a find does, less what is usual,
    # where the log said nothing of clicks
    tell_IV: Tensor
    less_usual: Tensor  # [] 1 there, else 0
    found_XV: Tensor  # of each of an item's inputs to the LSTM on its being found alone, [X, V]
    found_VV: Tensor  # information in an item found alone: mean square of its score
    # how much of the score and the information in a click, a sale and a find counts, [3]: the
    # chances that they are taken from are means over shoppers, which overstate it
    efficiency: Tensor
    # how far what a policy saw of tastes moved what it showed, and how surely, [2]; see `_told`
    told: Tensor

    def of_usual(self, usual_NX: Tensor) -> Tensor:
        """The mean load of finds, of this mean input, [N, V]."""
        return self.efficiency[2] * (usual_NX @ self.found_XV)


@dataclass(frozen=True)
class Lesson(Record):
    """What an event says of the taste."""

    score: Tensor  # [N, V] gradient of its log-likelihood
    passed: Tensor  # [N, V] of which this is of the page that was passed over for a find
    information: Tensor  # [N, V, V] expected negative second derivative


@dataclass(frozen=True)
class CommonTaste(Record):
    """How the slots' log-masses vary with what the site does not know of the shopper.

    Along the direction of taste that the page as a whole speaks to (its items' mean load, by mass)
    all slots move together; of the rest, each slot's own, only the mean of its mass is kept.
    """

    along: Tensor  # [N, K] of each slot for one standard deviation of that direction
    rest: Tensor  # [N, K] variance that is left
    toward: Tensor  # [N, V] what one standard deviation of that direction is in tastes

    def at(self, node_NX: Tensor) -> Tensor:
        """What it adds to the log-masses at X points, in standard deviations, [N, K, X]."""
        return 0.5 * self.rest.unsqueeze(-1) + self.along.unsqueeze(-1) * node_NX.unsqueeze(1)


class Tastes(nn.Module):
    """How tastes move what is clicked and what is sold.

    Args:
        embedding: D, of an item's vector.
        num_beside: what the memory reads of an item beside its vector and price.
        num_tastes: V.
    """

    def __init__(self, embedding: int, num_beside: int = 0, num_tastes: int = NUM_TASTES) -> None:
        super().__init__()
        num_inputs = embedding + 1 + num_beside
        self.click = nn.Parameter(CLICK_LOAD * torch.randn(num_tastes, embedding))
        self.sale = nn.Parameter(SALE_LOAD * torch.randn(num_tastes, embedding))
        self.found = nn.Parameter(SALE_LOAD * torch.randn(num_tastes, num_inputs))
        # of clicks and of worth, on how dear an item usually is
        self.price = nn.Parameter(PRICE_LOAD * torch.randn(num_tastes, 2))
        self.efficiency = nn.Parameter(torch.zeros(3))  # before twice a sigmoid
        self.told = nn.Parameter(torch.tensor(TOLD).log())  # before an exponential
        # covariance of what was found alone less what would have been, see `measure`
        self.register_buffer("surprise_XX", torch.eye(num_inputs))

    def of_heads(self) -> dict[str, Tensor]:
        """What moves each of the `Heads` that follow tastes, [V, .]; of prices it takes away."""
        return {"clicked": self.click, "worth": self.sale, "usual_slope": self.price}

    def loads(
        self, vector_ID: Tensor, dear_I1: Tensor, input_IX: Tensor, knows_clicks: Tensor
    ) -> Loads:
        """Of all items, of these vectors, usual log prices above their mean, and inputs.

        ``knows_clicks`` is that of the `Senses`.
        """
        efficiency_3 = 2.0 * self.efficiency.sigmoid()
        click_IV = vector_ID @ self.click.T + dear_I1 * self.price[:, 0]
        find_IV = efficiency_3[2] * (input_IX @ self.found.T)
        return Loads(
            click_IV=click_IV,
            sale_IV=vector_ID @ self.sale.T + dear_I1 * self.price[:, 1],
            find_IV=find_IV,
            tell_IV=torch.lerp(find_IV, click_IV, knows_clicks),
            less_usual=1.0 - knows_clicks,
            found_XV=self.found.T,
            found_VV=self.found @ self.get_buffer("surprise_XX") @ self.found.T,
            efficiency=efficiency_3,
            told=self.told.exp(),
        )

    @torch.no_grad()
    def measure(self, surprise_nX: Tensor) -> None:
        """Take the spread of finds from these surprises (the outer product of gradients)."""
        if len(surprise_nX):
            self.get_buffer("surprise_XX").copy_(surprise_nX.T @ surprise_nX / len(surprise_nX))


def at_nodes(log_share_NG: Tensor) -> Tensor:
    """Log-probability of each segment at each node, segment by segment, [N, G · S]."""
    whole_NGS = log_share_NG.unsqueeze(-1).expand(-1, -1, len(NODES))
    return whole_NGS.flatten(1) - math.log(len(NODES))


def nodes(like: Tensor) -> Tensor:
    """The `NODES` on the device and of the type of ``like``, [S]."""
    # not as one tensor from the host: a GPU would be waited for
    return torch.stack([like.new_full((), node) for node in NODES])


def over_nodes(evidence_NM: Tensor) -> Tensor:
    """Log of the mean likelihood over the nodes of each segment, [N, G]."""
    whole_NGS = evidence_NM.unflatten(-1, (-1, len(NODES)))
    over_NG: Tensor = whole_NGS.logsumexp(-1) - math.log(len(NODES))
    return over_NG


def begin(like: Tensor, num_tastes: int = NUM_TASTES) -> Belief:
    """Before the first page of N shoppers; ``like`` is [N, ...]."""
    eye_VV = torch.eye(num_tastes, device=like.device, dtype=like.dtype)
    zero_NV = like.new_zeros(len(like), num_tastes)
    eye_NVV = eye_VV.expand(len(like), -1, -1)
    return Belief(zero_NV, zero_NV, eye_NVV, eye_NVV)


def found_surprise(expected: Expectation, input_IX: Tensor, event: Event) -> Tensor:
    """An item found alone less the mean of what would be found, [N, X]; 0 for other events.

    Coming back to an item tells nothing of the search, so it counts by the chance of having been
    searched, which the score of the mixture weighs it by.
    """
    found_N = (event.kind == int(Kind.VIEW)) & (event.slot < 0)
    item_NX = rows(input_IX, event.item.clamp(min=0))
    return (item_NX - expected.found) * (found_N * expected.searched).unsqueeze(-1)


def lesson(
    loads: Loads, expected: Expectation, found_NX: Tensor, page: Page, event: Event
) -> Lesson:
    """Of a view: where it came from, and whether it sold; other events teach nothing.

    ``found_NX`` is the event's `found_surprise`.
    """
    dtype = expected.leave.dtype
    viewed_N1 = (event.kind == int(Kind.VIEW)).to(dtype).unsqueeze(-1)
    click, sale, find = loads.efficiency.unbind()
    found_N11 = viewed_N1.unsqueeze(-1) * (event.slot < 0).to(dtype).view(-1, 1, 1)
    slot_K = torch.arange(page.item.shape[1], device=event.slot.device)
    clicked_NK = (event.slot.unsqueeze(-1) == slot_K).to(dtype)
    load_NKV = rows(loads.click_IV, page.item.clamp(min=0))
    chance_NK1 = (expected.slot * viewed_N1).unsqueeze(-1)
    surprise_NK1 = (clicked_NK - expected.slot).unsqueeze(-1)
    mean_NV1 = (chance_NK1 * load_NKV).sum(1).unsqueeze(-1)
    # outer products by `*`: as a matrix product each is one of its own
    spread_NVV = load_NKV.mT @ (chance_NK1 * load_NKV) - mean_NV1 * mean_NV1.mT

    item_NV = rows(loads.sale_IV, event.item.clamp(min=0))
    chance_N1 = expected.sold().unsqueeze(-1)
    sold_N1 = (event.after >= int(After.CART)).to(dtype).unsqueeze(-1)
    page_NV = click * viewed_N1 * (surprise_NK1 * load_NKV).sum(1)
    score_NV = page_NV + sale * viewed_N1 * (sold_N1 - chance_N1) * item_NV
    score_NV = score_NV + find * found_NX @ loads.found_XV
    weight_N11 = (sale * viewed_N1 * chance_N1 * (1.0 - chance_N1)).unsqueeze(-1)
    item_NV1 = item_NV.unsqueeze(-1)
    information_NVV = click * spread_NVV + weight_N11 * (item_NV1 * item_NV1.mT)
    passed_NV = page_NV * found_N11[:, 0]
    information_NVV = information_NVV + find * found_N11 * loads.found_VV
    if page.told is not None:
        told_NV, told_NVV = _told(loads, expected, page, load_NKV)
        score_NV, information_NVV = score_NV + told_NV, information_NVV + told_NVV
    return Lesson(score_NV, passed_NV, information_NVV)


def away(loads: Loads, load_NKV: Tensor) -> Tensor:
    """Loads on clicks less the catalogue's mean, [N, K, V]."""
    return load_NKV - loads.click_IV.mean(0)


def _told(
    loads: Loads, expected: Expectation, page: Page, load_NKV: Tensor
) -> tuple[Tensor, Tensor]:
    """Score [N, V] and information [N, V, V] of what was shown, where the policy saw tastes.

    Each slot's `Page.told` is taken for b a' z + e, with a' of `away` and e of precision q / b²:
    a policy that likes to show what a shopper likes adds as much to its score. (q and b: see
    `Loads.told`.)
    """
    assert page.told is not None and expected.liked is not None
    slope, precision = loads.told.unbind()
    known_NK = ~page.told.isnan()
    surprise_NK = page.told.nan_to_num() / slope - expected.liked
    weight_NK1 = (precision * known_NK).unsqueeze(-1)
    away_NKV = away(loads, load_NKV)
    score_NV = (weight_NK1 * surprise_NK.unsqueeze(-1) * away_NKV).sum(1)
    return score_NV, away_NKV.mT @ (weight_NK1 * away_NKV)


def common(loads: Loads, covariance_NVV: Tensor, item_NK: Tensor, mass_NK: Tensor) -> CommonTaste:
    """The taste that a page of items speaks to; ``mass_NK`` is -inf for an empty slot."""
    load_NKV = rows(loads.click_IV, item_NK)
    # an empty page has no mass at all, and softmax needs some
    share_NK = mass_NK.clamp(min=torch.finfo(mass_NK.dtype).min).softmax(-1)
    share_NK = share_NK.masked_fill(mass_NK == -torch.inf, 0.0)  # it speaks to no taste
    mean_NV = (share_NK.unsqueeze(-1) * load_NKV).sum(1)
    spread_NV = times(covariance_NVV, mean_NV)
    variance_N1 = (mean_NV * spread_NV).sum(-1, keepdim=True)
    toward_NV = spread_NV / (variance_N1 + TINY).sqrt()
    along_NK = times(load_NKV, toward_NV)
    rest_NK = _variance(load_NKV, covariance_NVV) - along_NK.square()
    return CommonTaste(along_NK, rest_NK.clamp(min=0.0), toward_NV)


def alone(loads: Loads, covariance_NVV: Tensor, node_N: Tensor) -> Tensor:
    """What taste adds to the log-mass of each item on a page of its own, at a node, [N, I]."""
    variance_NI = variance(loads.click_IV, covariance_NVV, None).clamp(min=0.0)
    along_NI = variance_NI / (variance_NI + TINY).sqrt()
    return 0.5 * (variance_NI - along_NI.square()) + along_NI * node_N.unsqueeze(-1)


def variance(load_IV: Tensor, covariance_NVV: Tensor, item_NJ: Tensor | None) -> Tensor:
    """Of what taste adds to each of these items (None: all), [N, J]; ``load_IV`` of all items."""
    if item_NJ is None:
        return across(load_IV, load_IV, covariance_NVV)
    return _variance(rows(load_IV, item_NJ), covariance_NVV)


def _variance(load_NJV: Tensor, covariance_NVV: Tensor) -> Tensor:
    return ((load_NJV @ covariance_NVV) * load_NJV).sum(-1)


def across(one_IV: Tensor, other_IV: Tensor, covariance_NVV: Tensor) -> Tensor:
    """Covariance of what taste adds to each item by these loads and by those, [N, I]."""
    product_IX = (one_IV.unsqueeze(-1) * other_IV.unsqueeze(-2)).flatten(1)
    across_NI: Tensor = covariance_NVV.flatten(1) @ product_IX.T
    return across_NI


def averaged(logit: Tensor, variance: Tensor) -> Tensor:
    """Logit of the mean chance over a logit spread by ``variance``, to its second order.

    E[s(x + e)] = s + v s'' / 2 with s'' = s (1 - s)(1 - 2 s), of which s (1 - s) is the slope of
    the chance on the logit. Without it those would buy least of whom least is known.
    """
    # tanh(x / 2) = 2 s(x) - 1, which a CPU computes faster
    return logit - variance.clamp(max=MOST_VARIANCE) * (logit.sigmoid() - 0.5)


def learn(belief: Belief, lesson: Lesson) -> Belief:
    """The belief after an event."""
    precision_NVV = belief.precision + lesson.information
    covariance_NVV = inverse(precision_NVV)
    return Belief(
        mean=belief.mean + times(covariance_NVV, lesson.score),
        passed=belief.passed + times(covariance_NVV, lesson.passed),
        precision=precision_NVV,
        covariance=covariance_NVV,
    )


def inverse(precision_NVV: Tensor) -> Tensor:
    """Of a belief's precision; unchecked: it is never below the identity."""
    covariance_NVV: Tensor = torch.linalg.inv_ex(precision_NVV)[0]  # a GPU is not waited for
    return covariance_NVV
