"""What a learner may not know: probabilities, counterfactuals, true effects and ceilings.

Only `agents.evaluate`, the oracles and `experiments` import this package; a test holds that no
learner reaches it. What needs no more than the protocol of shoppers runs on a learned shop as well,
so that both are compared by the same lines.
"""

from recgym.worlds.truth.counterfactual import Path, Swap, paired, play_out, swapped
from recgym.worlds.truth.elasticity import elasticity, repriced, session_elasticity
from recgym.worlds.truth.exposure import Exposure, RandomPages, exposure
from recgym.worlds.truth.pages import PageValue, choice_probabilities, page_value
from recgym.worlds.truth.value import (
    gain_of,
    observable_spec,
    oracle_observable,
    oracle_spec,
    value_of,
)

__all__ = [
    "Exposure",
    "PageValue",
    "Path",
    "RandomPages",
    "Swap",
    "choice_probabilities",
    "elasticity",
    "exposure",
    "gain_of",
    "observable_spec",
    "oracle_observable",
    "oracle_spec",
    "page_value",
    "paired",
    "play_out",
    "repriced",
    "session_elasticity",
    "swapped",
    "value_of",
]
