"""Why a page of a session went so, by the fitted user model that reads the site's events."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from recgym.errors import UserError
from recgym.explain.deletion import Explanation, explain
from recgym.explain.histories import label, states
from recgym.explain.methods import METHODS, Asked, methods_for
from recgym.explain.questions import Question, question_of
from recgym.replay.steps import Session
from recgym.users.base import Shoppers


@dataclass(frozen=True)
class Explained:
    """A question about one page, and the answers."""

    policy: str
    page: int  # from 1
    question: str
    labels: list[str]  # of the earlier events
    explanations: list[Explanation]


def explained(
    model: Shoppers,
    session: Session,
    kind: str,
    page: int | None,
    methods: str | Sequence[str] | None,
) -> Explained:
    """Which earlier events of a session made something likely on a page.

    Raises:
        UserError: if there is no such page, method or question, or nothing came before.
    """
    count = len(session.steps)
    number = count if page is None else page
    whole = isinstance(number, int) and not isinstance(number, bool)
    if not whole or not 2 <= number <= count:
        raise UserError(
            f"page={number}: expected a whole number from 2 to {count}, a page of the session "
            f"under {session.policy} that comes after others."
            if count > 1
            else f"explain={kind}: the session under {session.policy} has one page, and nothing "
            "came before; pick another shopper."
        )
    methods = [methods] if isinstance(methods, str) else methods
    for name in methods or ():
        if name not in METHODS:
            raise UserError(f"methods={name}: expected some of {', '.join(METHODS)}.")
    asked = session.history.moments[number - 1]
    before = session.history.before(number - 1)
    blank = Asked(model, before, asked.visit, Question("happened", asked.page, asked.event))
    state = states(model, before, blank.all_kept())
    question = question_of(kind, model, state, asked)
    whole_asked = Asked(model, before, asked.visit, question)
    return Explained(
        session.policy,
        number,
        question.text,
        [label(moment.event) for moment in before.moments],
        [explain(whole_asked, name) for name in methods or methods_for(model)],
    )
