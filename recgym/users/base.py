"""The one protocol of shoppers: a true shop and a user model learned from logs both obey it.

p(choice, after, gap | state, page) = p(choice | state, page) · p(after | state, item, price)
· p(gap | next state): `respond`, `after` and `gap` are its factors, `observe` moves the state on.
What the factors need of a state is computed once a page: `read` gives it, the others take it. A
learned shopper's state may leave open to which of several segments the shopper belongs: `suppose`
draws one, and the factors are those of a shopper of that segment.
The simulator and the likelihood of a fit call the same functions, so that they cannot drift apart.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, NamedTuple, Protocol, runtime_checkable

import torch
from torch import Tensor
from torch.nn import functional as F  # noqa: N812

from recgym.lanes import Record
from recgym.types import Arrival, Catalog, Event, Page, Response, Rivalry, Visit


class AfterLogits(NamedTuple):
    """Logits of buy, of cart if not bought, of favourite if neither, each [N, J]."""

    buy: Tensor
    cart: Tensor
    favourite: Tensor


class Shoppers(Protocol):
    """Shoppers of one shop, many at once; parameters live here, states never do.

    Each kind has a state of its own, a `Record` that only it reads, and a reading of it: hence
    ``Any``.
    """

    catalog: Catalog
    quantity: float  # pieces of an item bought at once, on average

    def arrive(self, seed_N: Tensor, session_N: Tensor) -> Arrival:
        """Who comes and when, a function of (seed, session) alone."""
        ...

    def init_state(self, arrival: Arrival) -> Record:
        """Their state before the first page."""
        ...

    def read(self, state: Any) -> Any:
        """All that the verbs below need of their state, computed once a page."""
        ...

    def suppose(self, reading: Any, u_N: Tensor) -> Any:
        """The reading, with one of the segments that it leaves open drawn by a uniform [N]."""
        ...

    def segments(self, reading: Any) -> tuple[Tensor, Any]:
        """Probability of each segment [N, G], and the readings supposing each, of N · G lanes.

        Lane n · G + g supposes segment g of shopper n. A true shop knows its shoppers: G = 1.
        """
        ...

    def typical(self, reading: Any) -> Any:
        """The reading, with what it leaves open at its mean: one shopper, without a draw."""
        ...

    def facing(self, supposed: Any, page: Page, visit: Visit) -> Any:
        """The same shoppers in front of a page, as whom `after` speaks of its views.

        Who chose among its items has said something of a taste that the site does not know, and
        so has who found an item beside them.
        """
        ...

    def respond(self, supposed: Any, page: Page, visit: Visit) -> Response:
        """How they would answer a page of [N, K] slots."""
        ...

    def appeal(self, supposed: Any, visit: Visit, price_NI: Tensor) -> Tensor:
        """Log-mass [N, I] that each item would have alone in the first slot, as in `respond`."""
        ...

    def rivals(self, supposed: Any) -> Rivalry | None:
        """Each item, alone on a page, against its organic twin, [N, I]; see `Response.rivalry`."""
        ...

    def after(
        self, supposed: Any, item_NJ: Tensor | None, price_NJ: Tensor, clicked_NJ: Tensor | bool
    ) -> AfterLogits:
        """Logits of what would follow viewing these items; None stands for all I of them.

        ``clicked_NJ`` says which are clicked on the page and which found alone: who looks for an
        item has shown a taste for it that a click on the page does not show. The logits of buy and
        of cart never rise with price.
        """
        ...

    def observe(self, reading: Any, page: Page, event: Event, visit: Visit) -> Record:
        """Their state after the event."""
        ...

    def gap(self, state: Any) -> tuple[Tensor, Tensor]:
        """Mean [N] and standard deviation [] of log seconds until the next page."""
        ...


class Return(NamedTuple):
    """Whether and when shoppers come back: a logit [N], and the log of days away, normal."""

    logit: Tensor  # [N]
    mean: Tensor  # [N] of log days
    std: Tensor  # [] of log days


@runtime_checkable
class Returning(Protocol):
    """Shoppers who may come back after a session."""

    returns: bool  # False where nobody does

    def returning(self, state: Any, visit: Visit) -> Return:
        """Who comes back, given the state and the visit that the session ended with."""
        ...

    def again(self, state: Any, arrival: Arrival) -> Record:
        """Their state before the first page of the session that begins so; compare `init_state`."""
        ...


@runtime_checkable
class Doubting(Protocol):
    """Shoppers of several minds, who can say how far these part."""

    def doubt(self, reading: Any, page: Page, event: Event, visit: Visit) -> Tensor:
        """What the answer to a page is uncertain by, [N] in currency units."""
        ...


@runtime_checkable
class Wrapping(Protocol):
    """Shoppers of another shop, to whom something is added."""

    inner: Shoppers

    def unwrapped(self, state: Any) -> Record:
        """The state of the other shop's shopper within theirs."""
        ...


def state_within(shop: Shoppers, other: Shoppers | None) -> Callable[[Any], Record] | None:
    """What finds the other shop's state in this one's; None where it is not within."""
    if other is shop:
        return _itself
    if isinstance(shop, Wrapping) and shop.inner is other:
        return shop.unwrapped
    return None


def _itself(state: Record) -> Record:
    return state


class Known:
    """Shoppers whose state leaves nothing open: those of a true shop."""

    def suppose(self, reading: Any, u_N: Tensor) -> Any:
        """The reading itself."""
        return reading

    def typical(self, reading: Any) -> Any:
        """The reading itself."""
        return reading

    def facing(self, supposed: Any, page: Page, visit: Visit) -> Any:
        """The reading itself: nothing is left to be said."""
        return supposed

    def rivals(self, supposed: Any) -> None:
        """None: what they like is known exactly."""

    def segments(self, reading: Any) -> tuple[Tensor, Any]:
        """One segment, of probability 1."""
        some: Tensor = next(value for value in vars(reading).values() if isinstance(value, Tensor))
        return torch.ones(len(some), 1, device=some.device), reading


def by_segment(
    shop: Shoppers, reading: Any, page: Page | None = None, visit: Visit | None = None
) -> Iterator[tuple[Tensor, Any]]:
    """One segment after another: its probability [N, 1], and the readings supposing it, [N].

    Given a page and the visit before it, they are `facing` it.
    """
    share_NG, supposed = shop.segments(reading)
    count = share_NG.shape[1]
    for g in range(count):
        own = supposed if count == 1 else supposed.lanes(slice(g, None, count))
        if page is not None:
            assert visit is not None
            own = shop.facing(own, page, visit)
        yield share_NG[:, g : g + 1], own


def after_log_probs(logits: AfterLogits) -> Tensor:
    """Continuation-ratio logit: log-probabilities [N, J, 4] in the order of `After`.

    Buying and "bought or carted" both fall with price when their logits do, which a multinomial
    logit would not promise (Tutz 1991, "Sequential models in categorical regression").
    """
    logit_NJ3 = torch.stack(logits, -1)
    log_no_NJ3 = F.logsigmoid(-logit_NJ3)
    log_none_NJ3 = log_no_NJ3.cumsum(-1)  # of all that are asked so far
    # this one and none before: log sigmoid(x) = x + log sigmoid(-x)
    log_first_NJ3 = logit_NJ3 + log_none_NJ3
    return torch.cat([log_none_NJ3[..., 2:], log_first_NJ3.flip(-1)], -1)


def follow(
    shop: Shoppers, supposed: Any, item_N: Tensor, price_N: Tensor, slot_N: Tensor
) -> Tensor:
    """Log-probabilities [N, 4] of what follows viewing one item; of no meaning where none is."""
    logits = shop.after(
        supposed,
        item_N.clamp(min=0).unsqueeze(-1),
        price_N.unsqueeze(-1),
        (slot_N >= 0).unsqueeze(-1),
    )
    return after_log_probs(logits).squeeze(1)
