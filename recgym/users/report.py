"""How well a user model predicts sessions that it did not read, beside two simple baselines."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import torch
from scipy.sparse import csr_matrix
from scipy.stats import rankdata
from torch import Tensor

from recgym import choice
from recgym.lanes import Record
from recgym.types import After, Kind, Page, Sessions, Visit
from recgym.users.base import Shoppers, by_segment
from recgym.users.likelihood import Steps, cart_counts, gather_steps, log_prob_of, walked
from recgym.users.passes import MAX_LOGITS
from recgym.users.sequence import SequenceModel
from recgym.users.sessions import batches

TOP = 20  # items of the list that recall and reciprocal rank look at
BINS = 20  # of the calibration error, each with the same number of views
SMOOTHING = 0.5  # views that popularity gives every item on top of its own
SHRINKAGE = 20.0  # views of an item at which its own transitions weigh as much as popularity
MAX_BATCH = 8192  # steps, where the catalogue is small

Floats = npt.NDArray[np.float64]
Figures = dict[str, float | None]
Ranker = Callable[[Tensor, Tensor], Tensor]  # scores [n, I] and items [n] to ranks [n] from 1


class Predictions(NamedTuple):
    """What the model gave to the steps of sessions: n steps, m next views, v views."""

    choice: Tensor  # [n] nats, log-likelihood
    after: Tensor  # [n] nats
    gap: Tensor  # [n] nats
    next_step: Tensor  # [m] int64, rows of the log's steps: views after a session's first
    next_log_prob: Tensor  # [m] nats, of the item viewed, given that an item is viewed
    next_rank: Tensor  # [m] from 1, of the item viewed, see `mid_rank`
    follow: Tensor  # [v, 2] probabilities of (cart or buy, buy) given the view
    followed: Tensor  # [v, 2] int64, whether it did


def predictive_report(
    model: SequenceModel, sessions: Sessions, train_B: Tensor, test_B: Tensor
) -> Figures:
    """Likelihood, ranking and calibration on the sessions ``test_B``; None where undefined.

    ``nll`` and its parts are nats a step; ``nll_next_view`` nats a view after the first of its
    session, given that an item is viewed. ``cart`` is cart or buy, ``purchase`` buying at once,
    both given the view; their ``rate`` is what happened. ``popularity_`` and ``markov_`` are
    baselines counted on ``train_B``.
    """
    was_training = model.training
    model.eval()
    found = predict(model, sessions, test_B)
    model.train(was_training)
    parts = {"choice": found.choice, "after": found.after, "gap": found.gap}
    figures = {f"nll_{name}": _mean(-value) for name, value in parts.items()}
    return {
        "nll": _mean(-(found.choice + found.after + found.gap)),
        **figures,
        **ranking("", found.next_log_prob, found.next_rank),
        **_baselines(sessions, train_B, found.next_step, model.catalog.num_items),
        **_funnel("cart", found.follow[:, 0], found.followed[:, 0]),
        **_funnel("purchase", found.follow[:, 1], found.followed[:, 1]),
    }


def _mean(value: Tensor) -> float | None:
    return float(value.double().mean()) if value.numel() else None


# ---- the model ----------------------------------------------------------------------------------


@torch.no_grad()
def predict(
    model: SequenceModel, sessions: Sessions, row_B: Tensor, rank: Ranker | None = None
) -> Predictions:
    """The model's predictions on these sessions, in batches that bound the memory.

    ``rank`` stands in for `mid_rank`, where ties are to count otherwise.
    """
    cart_S, before_S = cart_counts(sessions), view_before(sessions)
    length_B = (sessions.offset[1:] - sessions.offset[:-1])[row_B]
    most = min(MAX_BATCH, max(64, MAX_LOGITS // model.catalog.num_items))
    none, no_step = torch.zeros(0), torch.zeros(0, dtype=torch.int64)
    follow_02 = torch.zeros(0, 2)
    parts = [Predictions(none, none, none, no_step, none, none, follow_02, follow_02.long())]
    for part in batches(length_B, most, None) if len(row_B) else ():
        steps = gather_steps(sessions, cart_S, row_B[part])
        later_n = (steps.event.kind == Kind.VIEW) & (before_S[steps.step] >= 0)
        device = model.items.own.device
        found = _predict_batch(model, steps.to(device), later_n.to(device), rank or mid_rank)
        parts.append(Predictions(*(value.cpu() for value in found)))
    return Predictions(*(torch.cat(values) for values in zip(*parts, strict=True)))


def _predict_batch(
    model: SequenceModel, steps: Steps, later_n: Tensor, rank: Ranker
) -> Predictions:
    reading, prospect = walked(model, steps)
    likelihood, event = log_prob_of(model, reading, prospect, steps), steps.event
    viewed_n = event.kind == Kind.VIEW
    expected = model.senses.expect(model.tables, reading, prospect, steps.page, event)
    after_v4 = expected.after[viewed_n]
    bought_v = after_v4[:, After.BUY]
    happened_v = event.after[viewed_n]

    page, visit = steps.page.lanes(later_n), steps.visit.lanes(later_n)
    share_mI = item_given_view(model, reading.state.lanes(later_n), page, visit)
    item_m = event.item[later_n]
    own_m = share_mI.gather(-1, item_m.unsqueeze(-1)).squeeze(-1)
    return Predictions(
        likelihood.choice,
        likelihood.after,
        likelihood.gap,
        steps.step[later_n],
        own_m.clamp(min=torch.finfo(own_m.dtype).tiny).log(),
        rank(share_mI, item_m),
        torch.stack([after_v4[:, After.CART] + bought_v, bought_v], -1),
        torch.stack([happened_v >= After.CART, happened_v == After.BUY], -1).long(),
    )


def item_given_view(model: Shoppers, state: Record, page: Page, visit: Visit) -> Tensor:
    """P(item i is viewed, in a slot or found alone | an item is viewed), [N, I]."""
    total_NI = torch.zeros(())
    for share_N1, supposed in by_segment(model, model.read(state)):
        chance = choice.probabilities(choice.law(model.respond(supposed, page, visit), visit))
        # an empty slot has probability 0: where it points adds nothing
        either_NI = chance.organic.scatter_add(-1, page.item.clamp(min=0), chance.slot)
        total_NI = total_NI + share_N1 * either_NI
    return total_NI / total_NI.sum(-1, keepdim=True)


# ---- ranking ------------------------------------------------------------------------------------


def mid_rank(score_nI: Tensor, item_n: Tensor) -> Tensor:
    """Rank of each row's item from 1, [n] float: the mean over the orders of equal scores."""
    own_n1 = score_nI.gather(-1, item_n.unsqueeze(-1))
    above_n, equal_n = (score_nI > own_n1).sum(-1), (score_nI == own_n1).sum(-1)
    return above_n + (equal_n + 1) / 2


def ranking(prefix: str, log_prob_m: Tensor, rank_m: Tensor) -> Figures:
    """Mean negative log-probability, recall and mean reciprocal rank of the items viewed."""
    listed_m = rank_m <= TOP
    return {
        f"{prefix}nll_next_view": _mean(-log_prob_m),
        f"{prefix}recall_at_{TOP}": _mean(listed_m),
        f"{prefix}mrr_at_{TOP}": _mean(listed_m / rank_m),
    }


def view_before(sessions: Sessions) -> Tensor:
    """Item of the session's last view before each step, [S] int64; -1 where there is none."""
    event, offset = sessions.event, sessions.offset
    step_S = torch.arange(len(event.kind))
    last_S = torch.where(event.kind == Kind.VIEW, step_S, -1).cummax(0).values.roll(1)
    first_S = torch.repeat_interleave(offset[:-1], offset.diff())
    # a session's own first step looks at another session's steps, or around the end
    inside_S = (last_S >= first_S) & (step_S > first_S)
    return torch.where(inside_S, event.item[last_S.clamp(min=0)], -1)


def _baselines(sessions: Sessions, train_B: Tensor, step_m: Tensor, num_items: int) -> Figures:
    from_S, to_S = view_before(sessions), sessions.event.item
    in_train_B = torch.zeros(len(sessions.split), dtype=torch.bool)
    in_train_B[train_B] = True
    in_train_S = torch.repeat_interleave(in_train_B, sessions.offset.diff())
    viewed_S = in_train_S & (sessions.event.kind == Kind.VIEW)
    share_I = popularity(to_S[viewed_S], num_items)
    moved_S = viewed_S & (from_S >= 0)
    count = transitions(from_S[moved_S], to_S[moved_S], num_items)
    from_m, to_m = from_S[step_m], to_S[step_m]
    popular_rank_I = torch.from_numpy(rankdata(-share_I, method="average"))
    log_share_I = torch.from_numpy(np.log(share_I))
    return {
        **ranking("popularity_", log_share_I[to_m], popular_rank_I[to_m]),
        **ranking("markov_", *markov(count, share_I, from_m, to_m)),
    }


def popularity(item_n: Tensor, num_items: int) -> Floats:
    """Each item's share of the views, smoothed by `SMOOTHING` views an item, [I]."""
    count_I = np.bincount(item_n.numpy(), minlength=num_items) + SMOOTHING
    share_I: Floats = count_I / count_I.sum()
    return share_I


def transitions(from_n: Tensor, to_n: Tensor, num_items: int) -> Any:
    """How often a view of one item followed a view of another, sparse [I, I]."""
    one_n = np.ones(len(from_n))
    return csr_matrix((one_n, (from_n.numpy(), to_n.numpy())), shape=(num_items, num_items))


def markov(count: Any, share_I: Floats, from_m: Tensor, to_m: Tensor) -> tuple[Tensor, Tensor]:
    """First-order Markov chain: log-probability [m] in nats and rank [m] of the items viewed.

    P(j | i) = (n_ij + a p_j) / (n_i + a): each row is shrunk to popularity p as by a Dirichlet
    prior of weight a = `SHRINKAGE` (MacKay and Peto 1995, "A hierarchical Dirichlet language
    model", equation 7).
    """
    log_probs, ranks = [torch.zeros(0, dtype=torch.float64)], [torch.zeros(0)]
    rows = max(1, MAX_LOGITS // len(share_I))
    for from_r, to_r in zip(torch.split(from_m, rows), torch.split(to_m, rows), strict=True):
        if not len(from_r):
            break
        mass_rI = torch.from_numpy(count[from_r.numpy()].toarray() + SHRINKAGE * share_I)
        own_r = mass_rI.gather(-1, to_r.unsqueeze(-1)).squeeze(-1)
        log_probs.append((own_r / mass_rI.sum(-1)).log())
        ranks.append(mid_rank(mass_rI, to_r))
    return torch.cat(log_probs), torch.cat(ranks)


# ---- what follows a view ------------------------------------------------------------------------


def _funnel(name: str, chance_v: Tensor, happened_v: Tensor) -> Figures:
    # here, since it is a second of imports, and most commands fit nothing
    from torchmetrics.functional.classification import binary_auroc

    auc = None
    if happened_v.any() and not happened_v.all():
        auc = float(binary_auroc(chance_v.double(), happened_v))
    return {
        f"{name}_auc": auc,
        f"{name}_ece": calibration_error(chance_v, happened_v),
        f"{name}_rate": _mean(happened_v),
    }


def calibration_error(chance_v: Tensor, happened_v: Tensor, bins: int = BINS) -> float | None:
    """Mean distance of forecast and frequency over bins of equally many views; None without views.

    Equal mass, since in bins of equal width a rare event fills the first bin alone (Nixon et al.
    2019, "Measuring calibration in deep learning", section 3).
    """
    if not len(chance_v):
        return None
    order_v = chance_v.argsort(stable=True)
    excess_v = (chance_v.double() - happened_v)[order_v]
    total = sum(float(part.sum().abs()) for part in excess_v.tensor_split(bins))
    return total / len(excess_v)
