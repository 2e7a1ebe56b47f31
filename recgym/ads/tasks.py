"""The decisions about a page that an agent may hold: which slots, which ad where, all, or prices.

Each task turns an action into a `Plan`, and describes a finite choice among plans as `Options`, so
that one agent can learn any of them. What an option would show and bring is asked of the auction
that would run, so that an option's description and what comes of it cannot drift apart.

Dims: J options.
"""

from __future__ import annotations

import dataclasses
from itertools import product

import torch
from torch import Tensor

from recgym.ads import placement
from recgym.ads.market import AdMarket
from recgym.ads.options import described, num_option_features
from recgym.ads.records import Market, Options, Plan, Request
from recgym.errors import UserError

PRICE_GRID = ((0.0, 0.15, 0.3), (0.25, 0.5), (0.05, 0.1, 0.2))  # reserve, alpha, target: in [0, 1]
MAX_RESERVE = 1.0  # currency units of the value 1 of a price action
MAX_ALPHA = 2.0  # exponent of its value 1
ORDERS_A_CLICK = 0.1  # where orders are paid for: the site has no estimate of its own for each ad


class Task:
    """What all tasks share: the options are the plans of the first J actions, each as it would run.

    Args:
        market: whose auction, rules and slots they are.
    """

    name: str
    num_options: int  # J
    own_organic = False  # whether an action says which items stand between the ads
    # [J, K] column of the request that each option puts into each slot, Q for none; None where
    # that is not known before
    column_JK: Tensor | None = None
    wanted_J: Tensor  # [J] int64, ads that each option would put on a page, where that is known

    def __init__(self, market: AdMarket) -> None:
        self.market, self.num_slots = market, market.num_slots
        self.device = market.catalog.category.device
        self.orders = ORDERS_A_CLICK if market.event == "order" else 1.0
        self.num_features = num_option_features(self.num_slots)
        self.pattern_JK = placement.patterns(market.rules, market.num_slots).to(self.device)

    def plan(self, request: Request, lanes: Market, option_N: Tensor) -> Plan:
        """The plan of each lane's option, an index in [0, J)."""
        raise NotImplementedError

    def decoded(self, request: Request, lanes: Market, action: Tensor) -> Plan:
        """The plan of an action of the Gymnasium environment, [N, ...]."""
        return self.plan(request, lanes, action)

    def options(self, request: Request, lanes: Market) -> Options:
        """All J options of each lane."""
        if self.column_JK is None:
            return self.options_run(request, lanes)
        column_JK, effect_K = self.column_JK, self.market.position_K

        def at(value_NQ: Tensor) -> Tensor:
            return torch.nn.functional.pad(value_NQ, (0, 1))[:, column_JK]

        ad_NJK = at(request.campaign >= 0)
        pay_NJK = self.market.quoted(request, torch.where(ad_NJK, column_JK, -1))
        like_NJ = torch.ones_like(pay_NJK[..., 0])
        return described(
            self.market,
            ad_NJK=ad_NJK,
            click_NJK=at(request.pctr) * effect_K,
            pay_NJK=pay_NJK * self.orders,
            bid_NJK=at(request.bid),
            alpha_NJ=like_NJ * self.market.alpha,
            reserve_NJ=like_NJ * self.market.reserve,
            allowed_NJ=self._allowed(ad_NJK.sum(-1), self.wanted_J),
        )

    def options_run(self, request: Request, lanes: Market) -> Options:
        """The same, by running the auction of every option: for prices that are its own."""
        num_lanes, count = len(request.organic), self.num_options
        lane_M = torch.arange(num_lanes, device=self.device).repeat_interleave(count)
        option_M = torch.arange(count, device=self.device).repeat(num_lanes)
        each = request.lanes(lane_M)
        plan = self.plan(each, _brief(lanes).lanes(lane_M), option_M)
        column_MK, price_MK = self.market.sold(each, plan)
        ad_MK, at_MK = column_MK >= 0, column_MK.clamp(min=0)
        chance_MK = each.pctr.gather(-1, at_MK) * self.market.position_K
        bid_MK = each.bid.gather(-1, at_MK)
        pay_MK = price_MK if self.market.event == "impression" else price_MK * chance_MK

        def split(value: Tensor) -> Tensor:
            return value.view(num_lanes, count, *value.shape[1:])

        return described(
            self.market,
            ad_NJK=split(ad_MK),
            click_NJK=split(chance_MK.masked_fill(~ad_MK, 0.0)),
            pay_NJK=split(pay_MK.masked_fill(~ad_MK, 0.0)) * self.orders,
            bid_NJK=split(bid_MK.masked_fill(~ad_MK, 0.0)),
            alpha_NJ=split(plan.alpha),
            reserve_NJ=split(plan.reserve),
            allowed_NJ=self._allowed(split(ad_MK.sum(-1)), split(plan.place.sum(-1))),
        )

    def _allowed(self, num_ads_NJ: Tensor, wanted: Tensor) -> Tensor:
        """An option that wants more ads than there are shows the page of another one."""
        return num_ads_NJ == wanted


class Allocate(Task):
    """Which slots become ads; the auction fills them, the best candidate the highest slot.

    Options are the legal sets of slots. Another set counts as the nearest legal one from the top.
    """

    name = "allocate"

    def __init__(self, market: AdMarket) -> None:
        super().__init__(market)
        self.num_options = len(self.pattern_JK)
        self.wanted_J = self.pattern_JK.sum(-1)
        rank_JK = (self.pattern_JK.cumsum(-1) - 1).clamp(max=market.num_candidates)
        self.column_JK = rank_JK.masked_fill(~self.pattern_JK, market.num_candidates)

    def plan(self, request: Request, lanes: Market, option_N: Tensor) -> Plan:
        """Ads in the slots of a legal set."""
        return self.market.plan(request, self.pattern_JK[option_N])

    def decoded(self, request: Request, lanes: Market, action: Tensor) -> Plan:
        """Of a wish [N, K], 1 where an ad is to stand."""
        return self.market.plan(request, placement.legal(self.market.rules, action > 0))


class Insert(Task):
    """Whether to insert one ad, which candidate and where: Zhao et al. 2021, "DEAR".

    Option 0 is none; 1 + q · K + k puts candidate q into slot k.
    """

    name = "insert"

    def __init__(self, market: AdMarket) -> None:
        super().__init__(market)
        self.num_options = 1 + market.num_candidates * self.num_slots
        self.legal_K = self.pattern_JK[self.pattern_JK.sum(-1) == 1].any(0)
        count, num_slots = market.num_candidates, self.num_slots
        legal_KK = torch.diag(self.legal_K)
        column_Q11 = torch.arange(count, device=self.device).view(-1, 1, 1)
        column_QKK = column_Q11.expand(-1, num_slots, -1).masked_fill(~legal_KK, count)
        none_1K = column_QKK.new_full((1, num_slots), count)
        self.column_JK = torch.cat([none_1K, column_QKK.flatten(0, 1)])
        self.wanted_J = (self.column_JK < count).sum(-1)

    def plan(self, request: Request, lanes: Market, option_N: Tensor) -> Plan:
        """One ad; none where it may not stand there, or where there is no such candidate."""
        at_N = (option_N - 1).clamp(min=0)
        slot_N, column_N = at_N % self.num_slots, at_N // self.num_slots
        there_N = request.campaign.gather(-1, column_N.unsqueeze(-1)).squeeze(-1) >= 0
        may_N = (option_N > 0) & self.legal_K[slot_N] & there_N
        slot_K = torch.arange(self.num_slots, device=self.device)
        place_NK = (slot_K == slot_N.unsqueeze(-1)) & may_N.unsqueeze(-1)
        return self.market.plan(
            request, place_NK, torch.where(place_NK, column_N.unsqueeze(-1), -1)
        )

    def _allowed(self, num_ads_NJ: Tensor, wanted: Tensor) -> Tensor:
        none_J = torch.arange(self.num_options, device=self.device) == 0
        return (num_ads_NJ == 1) | none_J


class Joint(Allocate):
    """The organic slate and the slots of ads; an option leaves the slate to the frozen ranking."""

    name = "joint"
    own_organic = True

    def decoded(self, request: Request, lanes: Market, action: Tensor) -> Plan:
        """Of K items, and a wish of K slots behind them, [N, 2K]."""
        item_NK, wish_NK = action[:, : self.num_slots], action[:, self.num_slots :]
        plan = super().decoded(request, lanes, wish_NK)
        return dataclasses.replace(plan, organic=item_NK)


class Price(Task):
    """Reserve, exponent of the estimated chance of a click, and ad load of the session.

    Slots are the rule's: as many of the highest legal ones as keep the ads of the session, this
    page's included, at or under the target share of its impressions; those who bid at least the
    reserve fill them. An action is three numbers in [0, 1], of the largest reserve, exponent and
    load; options are a grid of them behind "no ad".
    """

    name = "price"

    def __init__(self, market: AdMarket) -> None:
        super().__init__(market)
        like = market.position_K
        grid = [(0.0, 0.5, 0.0), *product(*PRICE_GRID)]
        self.grid_J3 = torch.tensor(grid, dtype=like.dtype, device=self.device)
        self.num_options = len(grid)
        highest = []  # of each number of ads, as high as the rules allow
        count_J = self.pattern_JK.sum(-1)
        for count in range(int(count_J.max()) + 1):
            highest.append(self.pattern_JK[count_J == count][0])
        self.highest_LK = torch.stack(highest)

    def plan(self, request: Request, lanes: Market, option_N: Tensor) -> Plan:
        """Of a point of the grid."""
        return self.decoded(request, lanes, self.grid_J3[option_N])

    def decoded(self, request: Request, lanes: Market, action: Tensor) -> Plan:
        """Of three numbers in [0, 1], [N, 3]."""
        action_N3 = action.to(self.grid_J3.dtype).clamp(0.0, 1.0)
        reserve_N, alpha_N, target_N = action_N3.unbind(-1)
        ads_N, shown_N = lanes.ads.to(target_N.dtype), lanes.impressions.to(target_N.dtype)
        room_N = target_N.double() * (shown_N + self.num_slots).double() - ads_N.double()
        # 0.1 · 30 - 2 is a hair below 1 in floating point
        count_N = (room_N + 1e-6).floor().long().clamp(0, len(self.highest_LK) - 1)
        plan = self.market.plan(request, self.highest_LK[count_N])
        return dataclasses.replace(plan, alpha=alpha_N * MAX_ALPHA, reserve=reserve_N * MAX_RESERVE)

    def _allowed(self, num_ads_NJ: Tensor, wanted: Tensor) -> Tensor:
        return torch.ones_like(num_ads_NJ, dtype=torch.bool)


TASKS: dict[str, type[Task]] = {task.name: task for task in (Allocate, Insert, Joint, Price)}


def task_named(name: str, market: AdMarket) -> Task:
    """The task of this name over a market."""
    if name not in TASKS:
        raise UserError(f"task={name!r} is unknown: expected one of {', '.join(TASKS)}.")
    return TASKS[name](market)


def _brief(lanes: Market) -> Market:
    """The market without what is kept of each campaign: no plan reads it."""
    narrow = {
        name: getattr(lanes, name)[:, :0]
        for name, value in vars(lanes).items()
        if isinstance(value, Tensor) and value.dim() == 2
    }
    return dataclasses.replace(lanes, **narrow)
