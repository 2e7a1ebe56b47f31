"""Anyone's policy, named as ``module:name``, and what it answers held against what was asked."""

from __future__ import annotations

import importlib
import os
import sys
from collections.abc import Callable
from types import ModuleType
from typing import Any

import torch
from torch import Tensor

from agents.sb3 import PredictPolicy
from recgym.ads.records import AdObservation
from recgym.errors import UserError
from recgym.types import Observation, Policy


def foreign_policy(name: str) -> Policy:
    """Anyone's policy as ``module:name``.

    A function of an observation that gives items [N, K], or an object (or a class or function
    without arguments that makes one) with ``act(observation)`` or ``predict(features)``.

    Raises:
        UserError: where there is none; and from ``act``, where it answers something else.
    """
    return _Checked(name, _named(name))


def foreign_ad_policy(name: str) -> Any:
    """Anyone's policy of ads: a function of an ad observation that gives options [N], or ``act``.

    Raises:
        UserError: as above.
    """
    policy = _named(name)
    if isinstance(policy, PredictPolicy):
        raise UserError(
            f"policy={name} predicts pages from features, and this run placed ads: expected a "
            "function of an ad observation that gives the index of an option for each lane, or "
            "act()."
        )
    return _Checked(name, policy)


class _Checked:
    """A policy whose answers are held against what was asked; all else of it is as it is."""

    def __init__(self, name: str, policy: Any) -> None:
        self.name, self.policy = name, policy

    def act(self, observation: Any, *, explore: bool = False) -> Tensor:
        """What the policy answers: items [N, K], or of an ad observation options [N]."""
        answer = torch.as_tensor(self.policy.act(observation))
        if isinstance(observation, AdObservation):
            assert observation.options is not None
            lanes, count = observation.options.allowed.shape
            fits, least = answer.shape == (lanes,), 0
            asked = f"an option from 0 to {count - 1} for each of {lanes} shoppers, [{lanes}]"
        else:
            lanes, count = observation.eligible.shape
            fits, least = answer.dim() == 2 and len(answer) == lanes, -1
            asked = (
                f"items from 0 to {count - 1}, or -1 for an empty slot, for each of {lanes} "
                f"shoppers, [{lanes}, slots]"
            )
        whole = not (answer.is_floating_point() or answer.is_complex())
        within = whole and bool(((answer >= least) & (answer < count)).all())
        if not (fits and within):
            raise UserError(
                f"policy={self.name} answered a tensor {list(answer.shape)} of {answer.dtype}"
                f"{', some of it out of range' if fits and whole else ''}: expected {asked}, as "
                "whole numbers."
            )
        return answer.long().to(observation.feature.device)

    def __getattr__(self, name: str) -> Any:
        return getattr(self.policy, name)


def _named(name: str) -> Any:
    module_name, _, attribute = name.partition(":")
    if not attribute:
        raise UserError(f"policy={name}: expected module:function, as in policy=my_shop:best")
    try:
        found = getattr(_module(module_name), attribute)
    except (ImportError, AttributeError) as error:
        raise UserError(
            f"policy={name} cannot be imported ({error}): expected a module on the Python path or "
            f"in {os.getcwd()} that defines {attribute}"
        ) from error
    if isinstance(found, type):
        found = found()
    if hasattr(found, "act"):
        return found
    if hasattr(found, "predict"):
        return PredictPolicy(found)
    if callable(found):
        return _Function(found)
    raise UserError(f"policy={name} is no policy: expected a function of an observation, or act()")


def _module(name: str) -> ModuleType:
    """The module, of the working folder first; the search path is left as it was."""
    before = list(sys.path)
    sys.path.insert(0, os.getcwd())
    try:
        return importlib.import_module(name)
    finally:
        sys.path[:] = before


class _Function:
    """A function of an observation as a policy."""

    def __init__(self, function: Callable[[Observation], Tensor]) -> None:
        self.function = function

    def act(self, observation: Observation, *, explore: bool = False) -> Tensor:
        """What the function says, [N, K]."""
        return torch.as_tensor(self.function(observation))
