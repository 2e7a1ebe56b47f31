"""The decisions about a page that an agent may hold: which slots, which ad where, all, or prices.

Each task turns an action into a `Plan`, and describes a finite choice among plans as `Options`, so
that one agent can learn any of them. What an option would show and bring is asked of the auction
that would run, so that an option's description and what comes of it cannot drift apart.

Dims: J options · X features of an option, in the order of `feature_names`.
"""

from __future__ import annotations

import dataclasses
from itertools import product

import torch
from torch import Tensor

from recgym.ads import placement
from recgym.ads.market import AdMarket
from recgym.ads.records import Market, Options, Plan, Request
from recgym.errors import UserError

TOTALS = ("ads", "payment", "clicks", "attention", "bid", "alpha", "reserve", "target")
PRICE_GRID = ((0.0, 0.15, 0.3), (0.25, 0.5), (0.05, 0.1, 0.2))  # reserve, alpha, target: in [0, 1]
MAX_RESERVE = 1.0  # currency units of the value 1 of a price action
MAX_ALPHA = 2.0  # exponent of its value 1
ORDERS_A_CLICK = 0.1  # where orders are paid for: the site has no estimate of its own for each ad


def feature_names(num_slots: int) -> list[str]:
    """What each feature of an option is: totals of the page, then three for each slot."""
    each = [f"{what}_{k + 1}" for what in ("ad", "clicks", "payment") for k in range(num_slots)]
    return [*TOTALS, *each]


class Task:
    """What all tasks share: the options are the plans of the first J actions, each as it would run.

    Args:
        market: whose auction, rules and slots they are.
    """

    name: str
    num_options: int  # J
    own_organic = False  # whether an action says which items stand between the ads

    def __init__(self, market: AdMarket) -> None:
        self.market, self.num_slots = market, market.num_slots
        self.device = market.catalog.category.device
        self.num_features = len(TOTALS) + 3 * self.num_slots
        self.pattern_JK = placement.patterns(market.rules, market.num_slots).to(self.device)

    def plan(self, request: Request, lanes: Market, option_N: Tensor) -> Plan:
        """The plan of each lane's option, an index in [0, J)."""
        raise NotImplementedError

    def decoded(self, request: Request, lanes: Market, action: Tensor) -> Plan:
        """The plan of an action of the Gymnasium environment, [N, ...]."""
        return self.plan(request, lanes, action)

    def options(self, request: Request, lanes: Market) -> Options:
        """All J options of each lane."""
        count, num_lanes = self.num_options, len(request.organic)
        lane_M = torch.arange(num_lanes, device=self.device).repeat_interleave(count)
        option_M = torch.arange(count, device=self.device).repeat(num_lanes)
        each, known = request.lanes(lane_M), _brief(lanes).lanes(lane_M)
        plan = self.plan(each, known, option_M)
        option = self._described(each, plan)
        found = option._map(lambda value: value.unflatten(0, (num_lanes, count)))
        return dataclasses.replace(found, allowed=self._allowed(request, found))

    def _allowed(self, request: Request, options: Options) -> Tensor:
        """An option that asks for more ads than there are shows what a smaller one does."""
        wanted_NJ = options.place.sum(-1)
        return wanted_NJ == options.num_ads

    def _described(self, request: Request, plan: Plan) -> Options:
        """One option a lane, as the auction would run it; ``allowed`` is left for later."""
        column_NK, price_NK = self.market.sold(request, plan)
        ad_NK = column_NK >= 0
        at_NK = column_NK.clamp(min=0)
        effect_K = self.market.position_K
        click_NK = (request.pctr.gather(-1, at_NK) * effect_K).masked_fill(~ad_NK, 0.0)
        bid_NK = request.bid.gather(-1, at_NK).masked_fill(~ad_NK, 0.0)
        pay_NK = price_NK * self._events(click_NK, ad_NK)
        total_NT = torch.stack(
            [
                ad_NK.sum(-1).to(click_NK.dtype),
                pay_NK.sum(-1),
                click_NK.sum(-1),
                (effect_K * ad_NK).sum(-1),
                bid_NK.sum(-1),
                plan.alpha,
                plan.reserve,
                self._target(plan),
            ],
            -1,
        )
        return Options(
            feature=torch.cat([total_NT, ad_NK.to(click_NK.dtype), click_NK, pay_NK], -1),
            allowed=ad_NK.any(-1),
            num_ads=ad_NK.sum(-1),
            payment=pay_NK.sum(-1),
            place=plan.place,
        )

    def _events(self, click_NK: Tensor, ad_NK: Tensor) -> Tensor:
        """Expected number of what is paid for, [N, K]."""
        if self.market.event == "impression":
            return ad_NK.to(click_NK.dtype)
        return click_NK * ORDERS_A_CLICK if self.market.event == "order" else click_NK

    def _target(self, plan: Plan) -> Tensor:
        return plan.place.to(plan.alpha.dtype).mean(-1)


class Allocate(Task):
    """Which slots become ads; the auction fills them, the best candidate the highest slot.

    Options are the legal sets of slots. Another set counts as the nearest legal one from the top.
    """

    name = "allocate"

    def __init__(self, market: AdMarket) -> None:
        super().__init__(market)
        self.num_options = len(self.pattern_JK)

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
        single_JK = self.pattern_JK[self.pattern_JK.sum(-1) == 1]
        self.legal_K = single_JK.any(0)

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

    def _allowed(self, request: Request, options: Options) -> Tensor:
        allowed_NJ = options.num_ads == 1
        allowed_NJ[:, 0] = True
        return allowed_NJ


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

    def _allowed(self, request: Request, options: Options) -> Tensor:
        return torch.ones_like(options.allowed)


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
