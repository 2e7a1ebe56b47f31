"""What a choice says of who made it, before it is known what follows.

Who clicks an item, or finds it, likes it; who finds something beside a page likes the page less;
and who would find an item likes the slot that shows it. Sales follow the belief as the choice has
moved it, and what a slot takes over of its organic twin is a mean over those who would find that.
Left out, a fit makes up for both by levels and a dissimilarity that are right on a log's pages
alone.
"""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor, where

from recgym.lanes import Record, rows
from recgym.types import Rivalry
from recgym.users import tastes
from recgym.users.products import times
from recgym.users.tastes import CommonTaste, Loads


@dataclass(frozen=True)
class ChosenTaste(Record):
    """How what is sold varies with what the site does not know of who chose it.

    Compare `CommonTaste`, at whose nodes it is taken.
    """

    gain: Tensor  # [N, J] how much better it sells for having been chosen, logits
    along: Tensor  # [N, J] for one standard deviation of the page's common taste
    rest: Tensor  # [N, J] variance that is left

    def at(self, node_NX: Tensor) -> Tensor:
        """What is added to the items' worth at X points, in standard deviations, [N, J, X]."""
        return self.gain.unsqueeze(-1) + self.along.unsqueeze(-1) * node_NX.unsqueeze(1)


def chosen(
    loads: Loads,
    covariance_NVV: Tensor,
    toward_NV: Tensor,
    usual_NV: Tensor,
    item_NJ: Tensor | None,
    clicked_NJ: Tensor | bool,
) -> ChosenTaste:
    """Of these items (None: all), to who chose them.

    Choosing an item tilts a Gaussian belief by the gradient g of the choice's log-likelihood, to
    the mean m + C g (`tastes.learn`, before what followed): a click by the item's load on clicks
    less the page's mean load, which has no part in the covariance C that the page's common taste
    leaves; a find by its load on finds less that of what is usually found.

    Args:
        loads: of the items.
        covariance_NVV: of taste.
        toward_NV: `CommonTaste.toward` of the page; 0 where they stand on none.
        usual_NV: mean load of what is found alone.
        item_NJ: int64.
        clicked_NJ: whether they are clicked on the page, or found alone; a bool where J are all.
    """
    rest_NVV = covariance_NVV - toward_NV.unsqueeze(-1) * toward_NV.unsqueeze(-2)
    rest_NJ = tastes.variance(loads.sale_IV, rest_NVV, item_NJ).clamp(min=0.0)
    if item_NJ is None:
        assert isinstance(clicked_NJ, bool)
        load_IV = loads.tell_IV if clicked_NJ else loads.find_IV
        less_NV = usual_NV * loads.less_usual if clicked_NJ else usual_NV
        gain_NI = tastes.across(loads.sale_IV, load_IV, rest_NVV)
        gain_NI = gain_NI - (less_NV.unsqueeze(1) @ rest_NVV).squeeze(1) @ loads.sale_IV.T
        return ChosenTaste(gain_NI, toward_NV @ loads.sale_IV.T, rest_NJ)
    sale_NJV = rows(loads.sale_IV, item_NJ)
    told_NJV = _told(loads, usual_NV.unsqueeze(1), item_NJ, clicked_NJ)
    gain_NJ = ((sale_NJV @ rest_NVV) * told_NJV).sum(-1)
    return ChosenTaste(gain_NJ, times(sale_NJV, toward_NV), rest_NJ)


def _told(loads: Loads, usual_N1V: Tensor, item_NJ: Tensor, clicked_NJ: Tensor | bool) -> Tensor:
    """The gradients of the choices, [N, J, V]."""
    find_NJV = rows(loads.find_IV, item_NJ) - usual_N1V
    if clicked_NJ is False:
        return find_NJV
    click_NJV = rows(loads.tell_IV, item_NJ) - usual_N1V * loads.less_usual
    if clicked_NJ is True:
        return click_NJV
    return where(clicked_NJ.unsqueeze(-1), click_NJV, find_NJV)


def rivalry(
    loads: Loads,
    covariance_NVV: Tensor,
    found: CommonTaste,
    usual_NV: Tensor,
    item_NK: Tensor,
) -> Rivalry:
    """The slots of a page against their organic twins.

    Taste z moves a slot's log-mass by a = A z and its twin's log-share by b = B z. What a page
    leaves of a twin is the mean of e^b kept(a - b), of which e^b, with a mean of 1, tilts the
    normal z: to means of cov(a, b) and var(b). As the logs' own means are half a variance less than
    the logs of the mean masses, that of a - b comes to cov(a, b) - var(b) / 2 - var(a) / 2, var(a)
    without the common taste, which has moved the slots already.

    Args:
        loads: of the items.
        covariance_NVV: of taste.
        found: the page's common taste.
        usual_NV: mean load of what is found alone.
        item_NK: int64, of the page.
    """
    click_NKV = rows(loads.click_IV, item_NK)
    find_NKV = rows(loads.find_IV, item_NK) - usual_NV.unsqueeze(1)
    spread_NKV = find_NKV @ covariance_NVV
    twin_NK, both_NK = ((spread_NKV * other).sum(-1) for other in (find_NKV, click_NKV))
    shared_NK = found.along * times(find_NKV, found.toward)
    apart_NK = found.rest + twin_NK - 2.0 * (both_NK - shared_NK)
    mean_NK = both_NK - 0.5 * (twin_NK + found.rest)
    return Rivalry(mean_NK, (apart_NK.clamp(min=0.0) + tastes.TINY).sqrt())


def rivalry_alone(loads: Loads, covariance_NVV: Tensor, usual_NV: Tensor) -> Rivalry:
    """`rivalry` of each item of the catalogue on a page of its own, [N, I]."""
    usual_NV1 = covariance_NVV @ usual_NV.unsqueeze(-1)
    of_usual_NI = usual_NV1.squeeze(-1) @ loads.find_IV.T
    square_N1 = (usual_NV.unsqueeze(1) @ usual_NV1).squeeze(-1)
    twin_NI = tastes.variance(loads.find_IV, covariance_NVV, None) - 2.0 * of_usual_NI + square_N1
    both_NI = tastes.across(loads.find_IV, loads.click_IV, covariance_NVV)
    both_NI = both_NI - usual_NV1.squeeze(-1) @ loads.click_IV.T
    own_NI = tastes.variance(loads.click_IV, covariance_NVV, None).clamp(min=0.0)
    # the common taste is the item's own: see `tastes.alone`
    rest_NI, shared_NI = (
        (tastes.TINY / (own_NI + tastes.TINY)) * own_NI,
        both_NI * own_NI / (own_NI + tastes.TINY),
    )
    apart_NI = rest_NI + twin_NI - 2.0 * (both_NI - shared_NI)
    mean_NI = both_NI - 0.5 * (twin_NI + rest_NI)
    return Rivalry(mean_NI, (apart_NI.clamp(min=0.0) + tastes.TINY).sqrt())
