"""The records of ad placement, as frozen dataclasses of tensors.

Dims besides those of `recgym.types`: A campaigns · Q candidate ads of a request · J options of a
decision · X features of an option · W parts of the reward. Money that changes hands is counted in
whole *micros*, a millionth of a currency unit, as int64: sums are exact, and budgets cannot leak by
rounding.
"""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from recgym.lanes import Record, Shared
from recgym.types import Observation, Outcome, Page

MICROS = 1_000_000  # of a currency unit
PARTS = ("ad_revenue", "organic_sales", "sponsored_sales", "satisfaction", "excess_load")  # W


@dataclass(frozen=True)
class Campaigns(Shared):
    """What advertisers have booked. Row a of each tensor is campaign a; each promotes one item."""

    item: Tensor  # [A] int64, in [0, I)
    advertiser: Tensor  # [A] int64, in [0, num_advertisers)
    value: Tensor  # [A] float, currency units that a click is worth (an order, under `cpa`)
    bid: Tensor  # [A] float, currency units offered for it, before pacing
    budget: Tensor  # [A] int64, micros a simulated day, of one lane
    quality: Tensor  # [A] float > 0, the platform's own weight of the ad
    start: Tensor  # [A] int64, first simulated day, counted from the catalogue's day 0
    stop: Tensor  # [A] int64, the day after the last
    target_roas: Tensor  # [A] float, sales ÷ spend that pacing aims at; 0 for none
    num_advertisers: int

    @property
    def num_campaigns(self) -> int:
        """A."""
        return self.item.shape[0]


@dataclass(frozen=True)
class Market(Record):
    """What the platform keeps of a lane besides the visit: one shopper's share of the market.

    Each lane has a ledger of its own, so that no lane depends on another: a budget is what one
    shopper may cost a campaign in a day.
    """

    day: Tensor  # [N] int64, simulated day that `spent` belongs to
    spent: Tensor  # [N, A] int64, micros of that day
    sales: Tensor  # [N, A] float, currency units credited to each campaign on that day
    pace: Tensor  # [N, A] float in (0, 1], multiplier of each bid; throttled: chance to take part
    shown: Tensor  # [N, A] int64, impressions of the running session
    since: Tensor  # [N] int64, pages of the session since one with an ad, or all of them
    ads: Tensor  # [N] int64, ads shown in the session
    impressions: Tensor  # [N] int64, items and ads shown in the session
    credit_item: Tensor  # [N, M] int64, items clicked as ads, newest first, -1 if none
    credit_campaign: Tensor  # [N, M] int64, of which campaign, -1 if none
    credit_price: Tensor  # [N, M] int64, micros that an order of it costs the campaign (`cpa`)


@dataclass(frozen=True)
class Request(Record):
    """What the platform knows when it fills a page: the organic ranking, and the ads that may run.

    Candidates are the Q campaigns that score best in the auction, the best first.
    """

    organic: Tensor  # [N, K] int64, the organic ranking, -1 for none
    campaign: Tensor  # [N, Q] int64, -1 where fewer may run
    item: Tensor  # [N, Q] int64, what each promotes, -1 for none
    pctr: Tensor  # [N, Q] float, estimated probability of a click in the first slot; 0 for none
    bid: Tensor  # [N, Q] float, currency units, paced; 0 for none
    quality: Tensor  # [N, Q] float; 1 for none
    score: Tensor  # [N, Q] float, rank score of the auction, -inf for none


@dataclass(frozen=True)
class Plan(Record):
    """What the platform decided for a page, before the auction."""

    organic: Tensor  # [N, K] int64, fills in order what no ad takes; what is left over falls off
    place: Tensor  # [N, K] bool, slots that an ad is to take
    candidate: Tensor  # [N, K] int64, column of the request forced into the slot; -1: the auction
    alpha: Tensor  # [N] float, exponent of pctr in the rank score
    reserve: Tensor  # [N] float, currency units, least price of a click (impression, order)


@dataclass(frozen=True)
class Placed(Record):
    """A page with its ads, and what each would cost."""

    page: Page  # with `sponsored`
    campaign: Tensor  # [N, K] int64, -1 where no ad stands
    price: Tensor  # [N, K] int64, micros for the event that is paid for; 0 where no ad stands


@dataclass(frozen=True)
class Options(Record):
    """A finite decision, each option described by numbers: what agents of any ad task choose from.

    The first option is always "no ad", and is always allowed.
    """

    feature: Tensor  # [N, J, X] float
    allowed: Tensor  # [N, J] bool
    num_ads: Tensor  # [N, J] int64, ads that the option would put on the page
    payment: Tensor  # [N, J] float, currency units that they are expected to bring, by pctr
    place: Tensor  # [N, J, K] bool, slots that an ad is to take


@dataclass(frozen=True)
class AdObservation(Record):
    """What a policy of ads may know: the site's own records, the request, and its options."""

    feature: Tensor  # [N, O] float, flat: the shop's observation, the market's, the request's
    base: Observation  # what a recommender sees
    market: Market
    request: Request
    options: Options | None  # None where the decision is not finite


@dataclass(frozen=True)
class AdOutcome(Record):
    """What a page with ads brought."""

    outcome: Outcome  # of the simulator
    campaign: Tensor  # [N, K] int64, of each slot, -1 where no ad stood
    charge: Tensor  # [N, K] int64, micros that each slot's campaign pays for this page
    order_charge: Tensor  # [N, A] int64, micros paid for orders credited to it (`cpa`), else 0
    clicked_campaign: Tensor  # [N] int64, of the ad clicked, -1 for none
    sponsored_sales: Tensor  # [N] float, currency units of what was paid, credited to ads
    campaign_sales: Tensor  # [N, A] float, the same by campaign
    tired: Tensor  # [N] float, what the page's ads added to the shopper's tiredness of ads
    parts: Tensor  # [N, W] float, the reward's parts in the order of `PARTS`

    def ad_revenue(self) -> Tensor:
        """Currency units that advertisers pay for this page, [N] float64."""
        return (self.charge.sum(-1) + self.order_charge.sum(-1)).double() / MICROS


@dataclass(frozen=True)
class AdTransition(Record):
    """What one page brought each lane; compare `recgym.envs.core.Transition`."""

    observation: AdObservation  # what to act on next: of a new episode where one ended
    final_observation: AdObservation  # before auto-reset, in every lane
    reward: Tensor  # [N] float
    terminated: Tensor  # [N] bool, the shopper left for good
    truncated: Tensor  # [N] bool, the page limit was reached
    outcome: Outcome  # of the simulator, as in `Transition`
    ads: AdOutcome
