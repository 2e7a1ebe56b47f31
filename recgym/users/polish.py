"""The last part of a fit: leaving, paying and the segments, to full convergence.

Stochastic gradients leave these parameters short of their maximum: what a page adds to going on
moves the likelihood by a few hundredths of a nat a session, and the value of a policy by a tenth.
They are few once the memory and the items' vectors are as they are, and L-BFGS over all sessions at
once finds the maximum (Liu and Nocedal 1989, "On the limited memory BFGS method for large scale
optimization", algorithm 2.1).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import torch
from torch import Tensor

from recgym.types import Kind, Sessions
from recgym.users import tastes
from recgym.users.base import after_log_probs
from recgym.users.likelihood import cart_counts, gather_steps, walked
from recgym.users.segments import mean_logits
from recgym.users.sequence import SequenceModel
from recgym.users.sessions import batches
from recgym.users.tastes import NODES

MOST_STEPS = 300_000  # of the sample that the maximum is sought on: enough for some 500 numbers
BATCH_STEPS = 32_768
ITERATIONS = 100  # at most; some 70 reach the maximum
STEP_SD = 0.1  # prior of how far a standardised weight lies from where the fit left it
NEVER = -1e4  # logit of what cannot happen; an infinite one has no gradient


class Collected(NamedTuple):
    """What n steps of B sessions say, session after session, the rest of the model fixed."""

    wide: Tensor  # [n, W] the state, as the heads of leaving and of the segments read it
    cart: Tensor  # [n, 3] as `of_cart` reads it
    attraction: Tensor  # [n, G S] of the page
    item: Tensor  # [n, G S] log-likelihood of the item and its slot, given a view; else 0
    logits: Tensor  # [n, G S, 3] of buy, cart, favourite of the event's item
    spread: Tensor  # [n, G S, 3] their variances, see `segments.Prospect`
    kind: Tensor  # [n] int64
    after: Tensor  # [n] int64
    first: Tensor  # [n] int64, row of the session's first step


@torch.no_grad()
def collect(model: SequenceModel, sessions: Sessions, row_B: Tensor) -> Collected:
    """Run the model over these sessions."""
    cart_S = cart_counts(sessions)
    length_B = (sessions.offset[1:] - sessions.offset[:-1])[row_B]
    parts, count = [], 0
    for part in batches(length_B, BATCH_STEPS, None):
        steps = gather_steps(sessions, cart_S, row_B[part]).to(model.items.own.device)
        reading, prospect = walked(model, steps)
        order_n = (steps.session() * len(steps.active) + steps.number).argsort()
        number_n = steps.number[order_n]
        row_n = torch.arange(len(order_n), device=order_n.device) + count
        parts.append(
            Collected(
                model.wide(reading.state)[order_n, : model.heads.known],
                model.answers.cart_features(steps.visit)[order_n],
                prospect.attraction[order_n],
                prospect.item[order_n],
                prospect.logits[order_n],
                prospect.spread[order_n],
                steps.event.kind[order_n],
                steps.event.after[order_n],
                row_n - number_n,
            )
        )
        count += len(order_n)
    return Collected(*(torch.cat(values) for values in zip(*parts, strict=True)))


def polish(
    model: SequenceModel, sessions: Sessions, row_B: Tensor, generator: torch.Generator
) -> None:
    """Bring leaving, paying and what tells segments apart to their maximum, in place."""
    length_B = (sessions.offset[1:] - sessions.offset[:-1])[row_B]
    order_B = torch.randperm(len(row_B), generator=generator)
    chosen_B = order_B[length_B[order_B].cumsum(0) <= MOST_STEPS]
    if not len(chosen_B):
        return
    found = collect(model, sessions, row_B[chosen_B])
    centre_W, spread_W = found.wide.mean(0), found.wide.std(0, correction=0).clamp(min=1e-3)
    found = found._replace(wide=(found.wide - centre_W) / spread_W)
    heads = {name: model.heads.of(name) for name in ("upper", "gate")}
    width = len(centre_W)
    free = {
        "cart": model.answers.of_cart.weight.detach().clone(),
        "page_weight": model.answers.page_weight.detach().clone(),
        "offset": model.heads.offset("upper").detach().clone(),
        "level": torch.zeros_like(model.heads.offset("level")[:, :3]),
    }
    for name, (weight, bias) in heads.items():
        read = weight.detach()[:, :width]
        free[f"{name}_weight"] = read * spread_W
        free[f"{name}_bias"] = bias.detach() + read @ centre_W
    if not _maximise(free, found):
        return
    with torch.no_grad():
        for name, (weight, bias) in heads.items():
            weight[:, :width] = free[f"{name}_weight"] / spread_W
            bias.copy_(free[f"{name}_bias"] - weight[:, :width] @ centre_W)
        model.answers.of_cart.weight.copy_(free["cart"])
        model.answers.page_weight.copy_(free["page_weight"])
        model.heads.offset("upper").copy_(free["offset"])
        model.heads.offset("level")[:, 1:4] += free["level"]
    model.project()


def _maximise(free: dict[str, Tensor], found: Collected) -> bool:
    """Move ``free`` to the maximum of likelihood and prior; whether that is a better place."""
    start = {name: free[name].clone() for name in ("upper_weight", "gate_weight")}

    def loss() -> Tensor:
        moved = torch.stack([(free[name] - value).square().sum() for name, value in start.items()])
        prior = 0.5 * moved.sum() / STEP_SD**2
        return (prior - log_likelihood(free, found)) / len(found.kind)

    with torch.no_grad():
        before = loss()
    _descend(loss, list(free.values()))
    weight = free["page_weight"]
    if not 0.0 <= float(weight) <= 1.0:
        # the maximum of all others where it has to stay, and not where it wanted to go
        weight.clamp_(0.0, 1.0)
        _descend(loss, [value for value in free.values() if value is not weight])
    with torch.no_grad():
        return bool(loss() <= before)


def _descend(loss_of: Callable[[], Tensor], values: list[Tensor]) -> None:
    for value in values:
        value.requires_grad_()
    optimiser = torch.optim.LBFGS(
        values, max_iter=ITERATIONS, history_size=20, line_search_fn="strong_wolfe"
    )

    def closure() -> Any:
        optimiser.zero_grad()
        loss = loss_of()
        loss.backward()
        return loss

    optimiser.step(closure)
    for value in values:
        value.requires_grad_(False)


def log_likelihood(free: dict[str, Tensor], found: Collected) -> Tensor:
    """Of all kinds, slots and continuations, a scalar in nats."""
    upper_n2 = found.wide @ free["upper_weight"].T + free["upper_bias"]
    upper_n2 = upper_n2 + found.cart @ free["cart"].T
    on_first_n = found.first == torch.arange(len(found.first), device=found.first.device)
    offset_M2, level_M3 = (
        free[name].repeat_interleave(len(NODES), 0) for name in ("offset", "level")
    )
    leave_nM = upper_n2[:, :1] + offset_M2[:, 0]
    checkout_nM = upper_n2[:, 1:] + offset_M2[:, 1]
    upper_nM3 = torch.stack(
        [
            leave_nM.masked_fill(on_first_n.unsqueeze(-1), NEVER),
            checkout_nM.masked_fill((found.cart[:, 0] == 0).unsqueeze(-1), NEVER),
            free["page_weight"] * found.attraction,
        ],
        -1,
    ).log_softmax(-1)
    index_nM1 = found.kind.view(-1, 1, 1).expand(-1, leave_nM.shape[1], 1)
    evidence_nM = upper_nM3.gather(-1, index_nM1).squeeze(-1) + found.item
    after_nM4 = after_log_probs(mean_logits(found.logits + level_M3, found.spread))
    index_nM1 = found.after.view(-1, 1, 1).expand_as(index_nM1)
    after_nM = after_nM4.gather(-1, index_nM1).squeeze(-1)
    viewed_n1 = (found.kind == int(Kind.VIEW)).unsqueeze(-1)
    evidence_nM = evidence_nM + torch.where(viewed_n1, after_nM, 0.0)
    evidence_nG = tastes.over_nodes(evidence_nM)
    # sums over whole logs lose the digits of a step in float32
    before_nG = evidence_nG.double().cumsum(0) - evidence_nG
    before_nG = (before_nG - before_nG[found.first]).to(evidence_nG.dtype)
    gate_nG = found.wide @ free["gate_weight"].T + free["gate_bias"]
    share_nG = (before_nG + gate_nG).log_softmax(-1)
    total: Tensor = (share_nG + evidence_nG).logsumexp(-1).sum()
    return total
