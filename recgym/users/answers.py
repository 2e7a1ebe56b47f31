"""What shoppers of one segment answer to a page, and what follows a view.

`respond`, `appeal` and `after` are verbs of `recgym.users.base` for single lanes; `prospect` says
the same of all segments at all nodes of taste at once, sharing what these have in common.
"""

from __future__ import annotations

import dataclasses

import torch
from torch import Tensor, nn

from recgym import choice
from recgym.lanes import repeated, rows
from recgym.types import Event, Organic, Page, Response, Rivalry, Visit
from recgym.users import tastes
from recgym.users.base import AfterLogits
from recgym.users.chosen import chosen, rivalry, rivalry_alone
from recgym.users.heads import Heads
from recgym.users.items import Tables
from recgym.users.pointers import came_back
from recgym.users.products import match, match_all
from recgym.users.segments import Prospect, mean_logits, prospect
from recgym.users.states import Levels, Reading, Supposed
from recgym.users.tastes import NODES, CommonTaste
from recgym.visit import brief, times_shown, times_shown_of_all

MIN_DISSIMILARITY = 0.05  # below, the nest's arithmetic divides by nearly nothing
MAX_SLOTS = 64


class Answers(nn.Module):
    """The laws of choice and of what follows, of shoppers whose `heads` are read.

    What is bought, carted or made a favourite is a matter of one worth to the shopper, on which the
    three depend each by its own scale: sales are few, and three tastes fitted apart would be noise.

    Args:
        heads: of the model.
        priced: whether the log holds prices.
        repeats: whether shoppers come back to single items, see `recgym.users.pointers`.
    """

    def __init__(self, heads: Heads, *, priced: bool, repeats: bool = False) -> None:
        super().__init__()
        self.heads, self.priced = heads, priced
        self.of_cart = nn.Linear(3, 2, bias=False)  # on leave and checkout
        nn.init.zeros_(self.of_cart.weight)
        self.worth_scale = nn.Parameter(torch.ones(3))  # of buy, cart, favourite
        self.position = nn.Parameter(torch.zeros(MAX_SLOTS))
        self.fatigue = nn.Parameter(torch.zeros(()))
        self.satiation = nn.Parameter(torch.zeros(()))
        self.page_weight = nn.Parameter(torch.tensor(0.5))
        self.dissimilarity = nn.Parameter(torch.tensor(0.7))
        # on buying, carting and favouring what was viewed before and is found again
        self.of_repeat = nn.Parameter(torch.zeros(3)) if repeats else None

    @torch.no_grad()
    def project(self) -> None:
        """Keep the nest's parameters in their ranges."""
        self.page_weight.clamp_(0.0, 1.0)
        self.dissimilarity.clamp_(MIN_DISSIMILARITY, 1.0)

    # ---- single lanes ---------------------------------------------------------------------------

    def respond(self, tables: Tables, supposed: Supposed, page: Page, visit: Visit) -> Response:
        """Nested logit of `recgym.choice`."""
        item_NK = page.item.clamp(min=0)
        like_NK = match(item_NK, tables.vector_ID, supposed.clicked.unsqueeze(1)).squeeze(1)
        like_NK = like_NK + self._place(tables, supposed.sated, page, visit)
        common = supposed.faced
        if common is None:
            common = self.common(tables, supposed, page, visit)
        like_NK = like_NK + common.at(supposed.node.unsqueeze(-1)).squeeze(-1)
        rivals = rivalry(tables.loads, supposed.covariance, common, supposed.usual, item_NK)
        found = self.response(tables, supposed.found, supposed.levels, like_NK, page, visit)
        return dataclasses.replace(found, rivalry=rivals)

    def appeal(self, tables: Tables, supposed: Supposed, visit: Visit, price_NI: Tensor) -> Tensor:
        """Log-mass of each item alone in the first slot."""
        like_NI = supposed.clicked @ tables.vector_ID.T
        like_NI = like_NI + tastes.alone(tables.loads, supposed.covariance, supposed.node)
        tired_NI = times_shown_of_all(visit.recent_item, price_NI.shape[1], like_NI.dtype)
        sated_NI = supposed.sated[:, tables.groups(supposed.sated.shape[1])]
        mass_NI = self.mass(tables, supposed.levels, like_NI, tables.detail_I5, price_NI)
        tired_NI = tired_NI * self.fatigue + sated_NI * self.satiation
        return mass_NI - tired_NI + self.position[0]

    def rivals(self, tables: Tables, supposed: Supposed) -> Rivalry:
        """Of each item alone, see `chosen.rivalry_alone`."""
        return rivalry_alone(tables.loads, supposed.covariance, supposed.usual)

    def after(
        self,
        tables: Tables,
        supposed: Supposed,
        item_NJ: Tensor | None,
        price_NJ: Tensor,
        clicked_NJ: Tensor | bool,
    ) -> AfterLogits:
        """What would follow viewing these items (None: all), dearer selling less."""
        if item_NJ is None:
            detail, like_NJ = tables.detail_I5, supposed.worth @ tables.vector_ID.T
        else:
            detail = rows(tables.detail_I5, item_NJ)
            like_NJ = match(item_NJ, tables.vector_ID, supposed.worth.unsqueeze(1)).squeeze(1)
        who, levels = supposed, supposed.levels
        toward_NV = torch.zeros_like(who.usual) if who.faced is None else who.faced.toward
        taste = chosen(tables.loads, who.covariance, toward_NV, who.usual, item_NJ, clicked_NJ)
        like_NJ = like_NJ + taste.at(who.node.unsqueeze(-1)).squeeze(-1)
        logits_NJ3, spread_NJ3 = self._logits(
            tables, levels, like_NJ, taste.rest, detail, price_NJ, clicked_NJ
        )
        if self.of_repeat is not None:
            back_NJ = came_back(who.found, item_NJ, clicked_NJ)
            logits_NJ3 = logits_NJ3 + back_NJ.unsqueeze(-1) * self.of_repeat
        return mean_logits(logits_NJ3, spread_NJ3)

    def common(self, tables: Tables, supposed: Supposed, page: Page, visit: Visit) -> CommonTaste:
        """The taste that the page speaks to, the same whatever the shopper's segment."""
        anyone_N1D = supposed.anyone.unsqueeze(1)
        like_NK = match(page.item.clamp(min=0), tables.vector_ID, anyone_N1D).squeeze(1)
        like_NK = like_NK + self._place(tables, supposed.sated, page, visit)
        return _common(tables, supposed.covariance, page, like_NK)

    # ---- all segments at once -------------------------------------------------------------------

    def prospect(
        self, tables: Tables, reading: Reading, page: Page, event: Event, visit: Visit
    ) -> Prospect:
        """What each segment at each node makes of a page and of the event that followed."""
        num_lanes = reading.share.shape[1] * len(NODES)
        law, logits_M3, spread_M3 = self.laws(tables, reading, page, event, visit)
        return prospect(law, logits_M3, spread_M3, event.repeated(num_lanes), num_lanes)

    def laws(
        self,
        tables: Tables,
        reading: Reading,
        page: Page,
        event: Event,
        visit: Visit,
    ) -> tuple[choice.Law, Tensor, Tensor]:
        """What `respond` and `after` say of a page and its event, of N · G · S lanes.

        The second of these before the mean over the shopper's own taste: logits and variances.

        A query is the shopper's plus the segment's, and so is what an item is to it: no vector is
        gathered for each segment anew.
        """
        nodes, vector_ID, loads = len(NODES), tables.vector_ID, tables.loads
        lanes = reading.share.shape[1] * nodes
        clicked_ND, worth_ND, levels_NL = self.heads.parts(reading.shared)
        clicked_GD, worth_GD, levels_GL = self.heads.parts(self.heads.segment_offset)
        levels_NGL = levels_NL.unsqueeze(1) + levels_GL
        levels = self.heads.levels(levels_NGL.repeat_interleave(nodes, 1).flatten(0, 1))

        shown_NK = page.item.clamp(min=0)
        like_NK = match(shown_NK, vector_ID, clicked_ND.unsqueeze(1)).squeeze(1)
        like_NK = like_NK + self._place(tables, reading.state.sated, page, visit)
        common = _common(tables, reading.covariance, page, like_NK)
        node_NS = tastes.nodes(like_NK).expand(len(like_NK), -1)
        common_NKS = common.at(node_NS)
        like_NKG = like_NK.unsqueeze(-1) + match_all(shown_NK, vector_ID, clicked_GD)
        like_NKM = (like_NKG.unsqueeze(-1) + common_NKS.unsqueeze(2)).flatten(2)
        page, now = page.repeated(lanes), brief(visit).repeated(lanes)
        # what is found alone is the same in all segments: see `organic.log_prob`
        response = self.response(
            tables, reading.found, levels, like_NKM.mT.flatten(0, 1), page, now
        )

        usual_NV = loads.of_usual(reading.usual)
        rivals = rivalry(loads, reading.covariance, common, usual_NV, shown_NK)
        response = dataclasses.replace(response, rivalry=rivals.repeated(lanes))

        item_N1, clicked_N1 = event.item.clamp(min=0).unsqueeze(-1), (event.slot >= 0).unsqueeze(-1)
        taste = chosen(loads, reading.covariance, common.toward, usual_NV, item_N1, clicked_N1)
        like_N1 = match(item_N1, vector_ID, worth_ND.unsqueeze(1)).squeeze(1)
        like_NG1 = (like_N1 + match_all(item_N1, vector_ID, worth_GD).squeeze(1)).unsqueeze(-1)
        like_M1 = (like_NG1 + taste.at(node_NS)).flatten().unsqueeze(-1)
        detail_M15 = repeated(rows(tables.detail_I5, item_N1), lanes)
        clicked_M1, price_M1 = (
            repeated(clicked_N1, lanes),
            repeated(event.price.unsqueeze(-1), lanes),
        )
        logit_M13, spread_M13 = self._logits(
            tables, levels, like_M1, repeated(taste.rest, lanes), detail_M15, price_M1, clicked_M1
        )
        if self.of_repeat is not None:
            back_N1 = came_back(reading.found, item_N1, clicked_N1)
            logit_M13 = logit_M13 + repeated(back_N1.unsqueeze(-1) * self.of_repeat, lanes)
        return choice.law(response, now), logit_M13.squeeze(1), spread_M13.squeeze(1)

    # ---- what both are made of ------------------------------------------------------------------

    def response(
        self,
        tables: Tables,
        found: Organic,
        levels: Levels,
        like_NK: Tensor,
        page: Page,
        visit: Visit,
    ) -> Response:
        """Given what each item of the page is to the shopper, in its slot."""
        upper_N2 = levels.upper + self.of_cart(self.cart_features(visit))
        leave_N, checkout_N = upper_N2.unbind(-1)
        detail_NK5 = rows(tables.detail_I5, page.item.clamp(min=0))
        mass_NK = self.mass(tables, levels, like_NK, detail_NK5, page.price)
        if page.weight is not None:  # of its gradient alone: see `recgym.users.propensities`
            mass_NK = torch.lerp(mass_NK.detach(), mass_NK, page.weight)
        return Response(
            leave=leave_N,
            checkout=checkout_N,
            organic=found,
            slot=mass_NK.masked_fill(page.item < 0, -torch.inf),
            page_item=page.item,
            page_weight=self.page_weight,
            dissimilarity=self.dissimilarity,
        )

    def mass(
        self, tables: Tables, levels: Levels, like: Tensor, detail: Tensor, price: Tensor
    ) -> Tensor:
        """Log-mass of items of which ``detail`` are the rows of `Tables.detail_I5`, [N, J]."""
        own, usual = detail[..., 0], detail[..., 4]
        like = levels.level[:, :1] + like + own
        return like - self._price_loss(tables, levels, 0, usual, price)

    def cart_features(self, visit: Visit) -> Tensor:
        """What leaving and paying read of the cart beside the state, [N, 3]."""
        count_N = visit.cart_count().to(self.of_cart.weight.dtype)
        return torch.stack([count_N.clamp(max=1.0), count_N.log1p(), 0.25 * count_N], -1)

    def _place(self, tables: Tables, sated_NJ: Tensor, page: Page, visit: Visit) -> Tensor:
        """What a slot's place and having seen the like bring, whatever the taste, [N, K].

        Having been shown the item itself deters; views of its category do either.
        """
        group_NK = tables.groups(sated_NJ.shape[1], page.item.clamp(min=0))
        tired_NK = times_shown(page.item, visit.recent_item) * self.fatigue
        tired_NK = tired_NK + sated_NJ.gather(-1, group_NK) * self.satiation
        return self.position[: page.item.shape[1]] - tired_NK

    def _price_loss(
        self, tables: Tables, levels: Levels, head: int, usual: Tensor, price: Tensor
    ) -> Tensor:
        """What prices [N, J] take from the logits of clicks (head 0) or sales (head 1), [N, J].

        A move of an item's price against its own mean always deters. What sets usually dear items
        apart from cheap ones is confounded with quality, so that slope is another one, of either
        sign: one slope for both would be wrong by as much as quality is worth.
        """
        if not self.priced:
            return torch.zeros_like(price)
        move = price.clamp(min=1e-6).log() - usual
        slope = levels.slope[:, head : head + 1]
        usual_slope = levels.usual_slope[:, head : head + 1]
        return slope * move + usual_slope * (usual - tables.mean_log_price)

    def _logits(
        self,
        tables: Tables,
        levels: Levels,
        like_NJ: Tensor,
        spread_NJ: Tensor,
        detail: Tensor,
        price_NJ: Tensor,
        clicked_NJ: Tensor | bool,
    ) -> tuple[Tensor, Tensor]:
        """Logits of buy, cart and favourite at the believed taste, and variances, [N, J, 3]."""
        level_N6 = levels.level[:, 1:].unsqueeze(-1)
        if isinstance(clicked_NJ, Tensor):
            clicked_NJ = clicked_NJ.unsqueeze(1)
        like_N3J = like_NJ.unsqueeze(1) * self.worth_scale.unsqueeze(-1)
        logit_N3J = like_N3J + level_N6[:, :3] + level_N6[:, 3:] * clicked_NJ
        buy_NJ, cart_NJ, favourite_NJ = (logit_N3J + detail[..., 1:4].mT).unbind(1)
        loss_NJ = self._price_loss(tables, levels, 1, detail[..., 4], price_NJ)
        logit_NJ3 = torch.stack([buy_NJ - loss_NJ, cart_NJ - loss_NJ, favourite_NJ], -1)
        return logit_NJ3, spread_NJ.unsqueeze(-1) * self.worth_scale.square()


def _common(tables: Tables, covariance_NVV: Tensor, page: Page, like_NK: Tensor) -> CommonTaste:
    """Of a page whose items a shopper of any segment likes as much as this."""
    own_NK = rows(tables.detail_I5, page.item.clamp(min=0))[..., 0]
    mass_NK = (like_NK + own_NK).masked_fill(page.item < 0, -torch.inf)
    return tastes.common(tables.loads, covariance_NVV, page.item.clamp(min=0), mass_NK)
