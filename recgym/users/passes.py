"""A user model along all sessions of a log: what a fit asks of it between its updates."""

from __future__ import annotations

import torch
from torch import Tensor

from recgym.types import After, Sessions
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
    num_steps, num_slots = sessions.page.item.shape
    device, dtype = model.items.own.device, model.items.own.dtype
    slot_SK = torch.zeros(num_steps, num_slots, device=device, dtype=dtype)
    leave_S, after_S4 = slot_SK.new_zeros(num_steps), slot_SK.new_zeros(num_steps, len(After))
    found_SX = slot_SK.new_zeros(num_steps, model.tables.input_IX.shape[1])
    usual_SX, searched_S = torch.zeros_like(found_SX), torch.zeros_like(leave_S)
    length_B = (sessions.offset[1:] - sessions.offset[:-1])[row_B]
    for part in batches(length_B, WALKED_STEPS, None):
        steps = gather_steps(sessions, cart_S, row_B[part]).to(device)
        expected = expectations(model, steps, None if carried is None else carried.meet)
        leave_S[steps.step], slot_SK[steps.step] = expected.leave, expected.slot
        after_S4[steps.step], found_SX[steps.step] = expected.after, expected.found
        usual_SX[steps.step], searched_S[steps.step] = expected.usual, expected.searched
    return Expectation(leave_S, slot_SK, after_S4, found_SX, usual_SX, searched_S)
