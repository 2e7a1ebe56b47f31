"""A user model along all sessions of a log: what a fit asks of it between its updates."""

from __future__ import annotations

import torch
from torch import Tensor

from recgym.lanes import joined
from recgym.types import Sessions
from recgym.users.likelihood import cart_counts, expectations, gather_steps, log_prob_of, walk
from recgym.users.sequence import SequenceModel
from recgym.users.sessions import batches
from recgym.users.spans import Carried
from recgym.users.surprises import Expectation

WALKED_STEPS = 65_536  # of a batch without gradients
MAX_LOGITS = 6_000_000  # items x steps of one batch that scores the whole catalogue


@torch.no_grad()
def mean_nll(model: SequenceModel, sessions: Sessions, row_B: Tensor) -> dict[str, float]:
    """Negative log-likelihood a step in nats, in all and by factor."""
    was_training = model.training
    model.eval()
    cart_S, device = cart_counts(sessions), model.items.own.device
    length_B = (sessions.offset[1:] - sessions.offset[:-1])[row_B]
    total_3 = torch.zeros(3, dtype=torch.float64, device=device)
    for part in batches(length_B, WALKED_STEPS, None):
        for now in walk(model, gather_steps(sessions, cart_S, row_B[part]).to(device)):
            value = log_prob_of(model, now.reading, now.found, now.steps)
            factors = value.choice, value.after, value.gap
            total_3 -= torch.stack([x.double().sum() for x in factors])
    model.train(was_training)
    mean_3 = (total_3 / int(length_B.sum())).tolist()
    parts = zip(("choice", "after", "gap"), mean_3, strict=True)
    return {"nll": sum(mean_3), **{f"nll_{name}": mean for name, mean in parts}}


def expectations_of_all(
    model: SequenceModel,
    sessions: Sessions,
    cart_S: Tensor,
    row_B: Tensor,
    carried: Carried | None = None,
) -> Expectation:
    """The model's expectations of every step of these sessions, by row of the log's steps.

    ``carried`` keeps the states that windows begin with.
    """
    model.eval()
    device, parts = model.items.own.device, []
    length_B = (sessions.offset[1:] - sessions.offset[:-1])[row_B]
    met = None if carried is None else carried.meet
    for part in batches(length_B, WALKED_STEPS, None):
        steps = gather_steps(sessions, cart_S, row_B[part]).to(device)
        parts.append((steps.step, expectations(model, steps, met)))
    step_n = torch.cat([step for step, _ in parts])
    place_S = torch.zeros(len(sessions.time_ms), dtype=torch.int64, device=device)
    place_S[step_n] = torch.arange(len(step_n), device=device)
    # of steps that no session here has, those of another: nobody asks for them
    return joined([expected for _, expected in parts]).lanes(place_S)
