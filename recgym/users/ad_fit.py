"""What ads do to shoppers, found in a log with ad labels: maximum likelihood, the user model fixed.

The log-likelihood of each page's choice is that of the user model with `recgym.users.ad_law` on
top, over all that the model leaves open about the shopper (as in `likelihood.log_prob`); tiredness
and trust run along the sessions. The maximum is sought by the scores of whole sessions, whose outer
products stand for the information, and so are the standard errors (Berndt, Hall, Hall and Hausman
1974, "Estimation and inference in nonlinear structural models"). Of being back, the likelihood is
that of `recgym.users.returning`; its head, and the law found so far, are fixed: the interval of
`back` holds for the tiredness that these give.

Which ad stands where has to be independent of the shopper but for what the log tells; ads put at
random are. The model was fitted to the same log without a word of ads: its items' levels and its
shoppers' patience hold part of what ads usually did there, and a shift for each, fitted too, puts
that right (`ad_law.Usual`). Not asked of the log:

- `position` and `ordinary`: measured on the user model.
- `trust_rate`: sessions are short, and in them its product with `blindness` is nearly all that
  tells; it is assumed, and `blindness` is what fits it.
- `rest_days`, and `back` where nobody is followed from session to session: assumed.

`memory` and `blindness` have weak priors: where tiredness moves nobody no memory is told, and trust
moves so little in one session that of a small log any blindness would do.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from recgym.errors import UserError
from recgym.locks import LOCKS, held
from recgym.types import DAY_MS, Sessions, Split
from recgym.users.ad_law import AdLaw
from recgym.users.ad_report import AdFit, Estimate, load_ads, save_ads
from recgym.users.ad_steps import AdSteps, Carried, collect
from recgym.users.base import Return
from recgym.users.returning import clicks_of, followed, log_likelihood
from recgym.users.sequence import SequenceModel
from recgym.users.sessions import rows_of
from recgym.users.sponsored import measured

MOST_SESSIONS = 10_000
MEMORY = (math.log(0.85 / 0.15), 1.5)  # prior mean and standard deviation of its logit
BLINDNESS_SD = 1.0  # of its prior, log-mass, around that of the assumed law
CLOSE = 1e-3  # of the log-likelihood still to gain, nats: a thirtieth of a standard error
ITERATIONS, HALVINGS = 30, 20
STEP = 1e-4  # of the differences that scores are taken from
CARRIED_PASSES = 3  # over sessions whose beginnings hang on the ends of others
OF_CHOICE = ("level", "blindness", "memory", "leave", "slot_shift", "leave_shift")
OF_RETURN = ("back", "back_shift")

Scored = Callable[[Tensor], Tensor]  # parameters [J] -> log-likelihood of each session [B]


def fit_ads(
    model: SequenceModel,
    sessions: Sessions,
    *,
    carried: bool = False,
    most_sessions: int = MOST_SESSIONS,
    assumed: AdLaw | str | Mapping[str, Any] = "mild",
    seed: int = 0,
) -> AdFit:
    """The law of the training sessions' shoppers.

    Args:
        model: fitted on the same log, and left as it is.
        sessions: whose pages say which slots held an ad.
        carried: whether sessions of one shopper follow each other, as where shoppers come back; a
            true shop without returns begins each session with a shopper who has met no ad.
        most_sessions: of whole shoppers drawn at random, that are read.
        assumed: law of the numbers that no log tells.
        seed: of the draw.

    Raises:
        UserError: if the training sessions know of no ad.
    """
    row_B = _sample(sessions, most_sessions, seed)
    sponsored_SK = sessions.page.sponsored
    if sponsored_SK is None or not bool(_of_rows(sessions, sponsored_SK.any(-1), row_B).any()):
        raise UserError(
            "the log's training sessions hold no ad: its impressions need a column `sponsored` "
            "that is true where an ad stood; a true shop writes one with log.ads={law: mild}."
        )
    own, preset = measured(model, {}), AdLaw.of(assumed)
    law = dataclasses.replace(
        AdLaw(), trust_rate=preset.trust_rate, rest_days=preset.rest_days,
        position=own.position, ordinary=own.ordinary,
    )  # fmt: skip
    was_training = model.training
    model.eval()
    steps = collect(model, sessions, row_B, law)
    begin = steps.fresh()
    without = float(steps.log_prob(law, begin).sum())
    followed_too = carried and model.return_head is not None
    for _ in range(CARRIED_PASSES if carried else 1):
        law, estimates = _fit_choice(steps, law, begin, preset.blindness)
        if carried:
            begin = _carry(sessions, row_B, steps, law, begin)
    gain = float(steps.log_prob(law, begin).sum()) - without
    if followed_too:
        law, more = _fit_return(model, sessions, row_B, steps, law, begin)
        estimates |= more
    model.train(was_training)
    return AdFit(
        law=dataclasses.replace(law, back=law.back if followed_too else preset.back),
        usual=steps.usual,
        estimates=estimates,
        num_sessions=len(row_B),
        num_ads=int(_of_rows(sessions, sponsored_SK.sum(-1), row_B).sum()),
        gain=gain,
        asked=_asked(carried, most_sessions, assumed, seed),
    )


def prepare_ads(
    model: SequenceModel,
    sessions: Sessions,
    folder: Path,
    *,
    carried: bool = False,
    most_sessions: int = MOST_SESSIONS,
    assumed: AdLaw | str | Mapping[str, Any] = "mild",
    seed: int = 0,
) -> tuple[AdFit, bool]:
    """`fit_ads`, kept beside the model in its ``folder``, and whether it was there already."""
    asked = _asked(carried, most_sessions, assumed, seed)
    with held(folder.parent / LOCKS / f"{folder.name}-ads.lock", f"ads of {folder.name}"):
        kept = load_ads(folder)
        if kept is not None and kept.asked == asked:
            return kept, True
        fit = fit_ads(
            model, sessions,
            carried=carried, most_sessions=most_sessions, assumed=assumed, seed=seed,
        )  # fmt: skip
        save_ads(fit, folder)
    return fit, False


def _asked(
    carried: bool, most_sessions: int, assumed: AdLaw | str | Mapping[str, Any], seed: int
) -> dict[str, Any]:
    """What decides a fit beside log and model, as JSON holds it."""
    law = dataclasses.asdict(AdLaw.of(assumed))
    numbers = {name: law[name] for name in ("trust_rate", "blindness", "rest_days", "back")}
    return {"carried": carried, "most_sessions": most_sessions, "seed": seed, **numbers}


def maximise(
    scored: Scored, start_J: Tensor, prior: Callable[[Tensor], Tensor]
) -> tuple[Tensor, Tensor]:
    """Parameters of greatest posterior density and their covariance, [J] and [J, J].

    ``prior(value_J)`` is the log-density; it is Gaussian, and its curvature joins the information.
    """
    value_J, total = start_J, scored(start_J).sum() + prior(start_J)
    curvature_JJ = -torch.func.hessian(prior)(start_J)  # the same everywhere
    for _ in range(ITERATIONS):
        score_BJ = _differences(scored, value_J)
        information_JJ = score_BJ.T @ score_BJ + curvature_JJ
        gradient_J = score_BJ.sum(0) + torch.func.grad(prior)(value_J)
        covariance_JJ = torch.linalg.pinv(information_JJ, hermitian=True)
        move_J = covariance_JJ @ gradient_J
        if float(move_J @ gradient_J) < 2.0 * CLOSE:
            break
        for _ in range(HALVINGS):
            ahead = scored(value_J + move_J).sum() + prior(value_J + move_J)
            if ahead > total:
                value_J, total = value_J + move_J, ahead
                break
            move_J = move_J / 2.0
        else:
            break
    return value_J, covariance_JJ


def _differences(scored: Scored, value_J: Tensor) -> Tensor:
    """Scores of each session by central differences, [B, J]."""
    step_JJ = STEP * torch.eye(len(value_J), dtype=value_J.dtype)
    return torch.stack(
        [(scored(value_J + s) - scored(value_J - s)) / (2 * STEP) for s in step_JJ], -1
    )


def _fit_choice(
    steps: AdSteps, law: AdLaw, begin: Carried, blindness: float
) -> tuple[AdLaw, dict[str, Estimate]]:
    place, blind = OF_CHOICE.index("memory"), OF_CHOICE.index("blindness")

    def laid(value_J: Tensor) -> dict[str, Tensor]:
        numbers = dict(zip(OF_CHOICE, value_J.unbind(), strict=True))
        return numbers | {"memory": numbers["memory"].sigmoid()}

    def prior(value_J: Tensor) -> Tensor:
        of_memory = (value_J[place] - MEMORY[0]) / MEMORY[1]
        of_blindness = (value_J[blind] - blindness) / BLINDNESS_SD
        density: Tensor = -0.5 * (of_memory.square() + of_blindness.square())
        return density

    start_J = torch.tensor([getattr(law, name) for name in OF_CHOICE], dtype=torch.float64)
    start_J[place] = MEMORY[0]
    value_J, covariance_JJ = maximise(
        lambda value_J: steps.log_prob(law, begin, laid(value_J)), start_J, prior
    )
    found = {name: float(value) for name, value in laid(value_J).items()}
    error_J = covariance_JJ.diagonal().clamp(min=0.0).sqrt()
    error_J[place] *= found["memory"] * (1.0 - found["memory"])
    return _taken(law, found, error_J)


def _taken(
    law: AdLaw, found: dict[str, float], error_J: Tensor
) -> tuple[AdLaw, dict[str, Estimate]]:
    """The law of these numbers; what may not be negative is 0 where it would be."""
    bounded = ("blindness", "leave", "back")
    used = {name: max(0.0, x) if name in bounded else x for name, x in found.items()}
    errors = dict(zip(found, error_J.tolist(), strict=True))
    return dataclasses.replace(law, **used), {
        name: Estimate(value, errors[name]) for name, value in found.items()
    }


def _fit_return(
    model: SequenceModel,
    sessions: Sessions,
    row_B: Tensor,
    steps: AdSteps,
    law: AdLaw,
    begin: Carried,
) -> tuple[AdLaw, dict[str, Estimate]]:
    """What tiredness at the end of a session takes off the logit of coming back."""
    read_BF, back_B, days_B, all_B = followed(sessions)
    tired_A = torch.full((len(sessions.split),), torch.nan, dtype=torch.float64)
    tired_A[row_B] = steps.ends(law, begin).tired
    among_B = ~tired_A[all_B].isnan()
    head, group_I = model.return_head, model.tables.groups(model.num_groups).cpu()
    assert head is not None
    clicks_BJ = clicks_of(sessions, all_B, group_I, model.num_groups, float(head.memory))
    read_BF = torch.cat([read_BF, clicks_BJ], -1)[among_B]
    back_B, days_B = back_B[among_B], days_B[among_B].double()
    tired_B = tired_A[all_B[among_B]]
    weight_F, bias = head.weight.double().cpu(), head.bias.double().cpu()
    pages_B = sessions.offset.diff()[all_B[among_B]]
    usual_B = steps.usual.tired(law.memory, pages_B)
    logit_B, (mean, std) = read_BF.double() @ weight_F + bias, head.days.double().cpu()

    def scored(value_J: Tensor) -> Tensor:
        back, shift = value_J.unbind()
        whole = Return(logit_B - back * tired_B + shift * usual_B, mean.expand(len(logit_B)), std)
        return log_likelihood(whole, back_B, days_B)

    start_J = torch.zeros(2, dtype=torch.float64)
    value_J, covariance_JJ = maximise(scored, start_J, lambda value_J: 0.0 * value_J.square().sum())
    found = dict(zip(OF_RETURN, value_J.tolist(), strict=True))
    return _taken(law, found, covariance_JJ.diagonal().clamp(min=0.0).sqrt())


def _sample(sessions: Sessions, most_sessions: int, seed: int) -> Tensor:
    """Training sessions of whole shoppers, rising."""
    row_B = rows_of(sessions, Split.TRAIN)
    if len(row_B) <= most_sessions:
        return row_B
    _, who_B = sessions.shopper[row_B].unique(return_inverse=True)
    count_U = torch.bincount(who_B)
    drawn_U = torch.randperm(len(count_U), generator=torch.Generator().manual_seed(seed))
    kept_U = torch.zeros_like(count_U, dtype=torch.bool)
    kept_U[drawn_U] = count_U[drawn_U].cumsum(0) <= most_sessions
    return row_B[kept_U[who_B]]


def _of_rows(sessions: Sessions, value_S: Tensor, row_B: Tensor) -> Tensor:
    """The steps of these sessions."""
    chosen_A = torch.zeros(len(sessions.split), dtype=torch.bool)
    chosen_A[row_B] = True
    return value_S[chosen_A.repeat_interleave(sessions.offset.diff())]


def _carry(
    sessions: Sessions, row_B: Tensor, steps: AdSteps, law: AdLaw, begin: Carried
) -> Carried:
    """How sessions begin, by how the shopper's last one before ended."""
    first_B, last_B = sessions.offset[row_B], sessions.offset[row_B + 1] - 1
    order_B = sessions.time_ms[first_B].argsort(stable=True)
    order_B = order_B[sessions.shopper[row_B][order_B].argsort(stable=True)]
    before_B, after_B = order_B[:-1], order_B[1:]
    same_B = sessions.shopper[row_B[before_B]] == sessions.shopper[row_B[after_B]]
    before_B, after_B = before_B[same_B], after_B[same_B]
    away_B = (sessions.time_ms[first_B[after_B]] - sessions.time_ms[last_B[before_B]]) / DAY_MS
    ends, fresh = steps.ends(law, begin), steps.fresh()
    tired_B, trust_B = fresh.tired.clone(), fresh.trust.clone()
    tired_B[after_B] = law.rested(ends.tired[before_B], away_B)
    trust_B[after_B] = ends.trust[before_B]
    return Carried(tired_B, trust_B)
