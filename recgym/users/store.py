"""A fitted user model as a folder: tensors without pickled code, and their settings as JSON."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import os
import pickle
import shutil
import uuid
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from recgym.errors import UserError
from recgym.types import Catalog
from recgym.users.attention import AttentionUserModel
from recgym.users.convolution import ConvolutionUserModel
from recgym.users.gru import GRUUserModel
from recgym.users.lstm import LSTMUserModel
from recgym.users.returning import NUM_SUMMARIES, ReturnHead
from recgym.users.rnn import RNNUserModel
from recgym.users.sequence import SequenceModel
from recgym.users.transformer import TransformerUserModel
from recgym.users.wrong import ItemClicks, PageBlind

SCHEMA_VERSION = 13
KINDS: dict[str, type[SequenceModel]] = {
    kind.__name__: kind
    for kind in (
        LSTMUserModel, GRUUserModel, RNNUserModel, AttentionUserModel, TransformerUserModel,
        ConvolutionUserModel, PageBlind, ItemClicks,
    )
}  # fmt: skip
TENSORS, SETTINGS = "model.pt", "model.json"
FIT = "fit"  # folder within a model's, of the same model before assumptions were made
REMEDY = "make one with python -m recgym.fit log=folder log.path=LOG"
# a fit reuses the folder that it finds: a spoiled one has to go first
REFIT = "remove the folder and fit anew with python -m recgym.fit log=folder log.path=LOG"


def save_model(
    model: SequenceModel, folder: Path, extra: dict[str, Any], fit: Path | None = None
) -> None:
    """Write all that the model is into ``folder``, whole or not at all.

    A model that stands there is replaced; any other folder is left alone.

    Args:
        model: what `load_model` gives back.
        folder: to be made.
        extra: kept in `model.json` for people and reports; whatever JSON can hold.
        fit: folder of the model that this one was made from by assumptions, to be kept within.

    Raises:
        UserError: if ``folder`` exists and holds something other than a model.
    """
    _check_target(folder)
    temporary = folder.parent / f".{folder.name}.{uuid.uuid4().hex[:8]}.tmp"
    catalog = model.catalog
    try:
        temporary.mkdir(parents=True)
        tensors = {
            "state": {name: value.detach().cpu() for name, value in model.state_dict().items()},
            "catalog": {
                "price": catalog.price.detach().cpu(),
                "category": catalog.category.cpu(),
                "feature": catalog.feature.detach().cpu(),
                **({} if catalog.title is None else {"title": catalog.title.detach().cpu()}),
            },
        }
        torch.save(tensors, temporary / TENSORS)
        description = {
            "schema_version": SCHEMA_VERSION,
            "kind": type(model).__name__,
            "settings": model.settings,
            "catalog": {
                "start_ms": catalog.start_ms,
                "num_categories": catalog.num_categories,
                "priced": catalog.priced,
            },
            "sha256": _sha256(temporary / TENSORS),
            "extra": extra,
        }
        (temporary / SETTINGS).write_text(json.dumps(description, indent=2) + "\n")
        if fit is not None:
            shutil.copytree(fit, temporary / FIT)
        _replace(folder, temporary)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def load_model(folder: Path, device: torch.device | str = "cpu") -> SequenceModel:
    """The model that `save_model` wrote, ready to respond: bit for bit the same.

    Raises:
        UserError: if the folder is missing, of another version or damaged.
    """
    description = read_description(folder)
    file = folder / TENSORS
    if not file.is_file():
        raise UserError(f"{file} is missing: expected it beside {SETTINGS}; {REFIT}")
    if _sha256(file) != description.get("sha256"):
        raise UserError(f"{file} is damaged (its bytes are not those that were written): {REFIT}")
    try:
        tensors = torch.load(file, map_location="cpu", weights_only=True)
        model = _build(tensors["state"], tensors["catalog"], description)
    except (KeyError, TypeError, ValueError, RuntimeError, EOFError, pickle.UnpicklingError) as e:
        raise UserError(f"{folder} is damaged ({_line(e)}): {REFIT}") from e
    return model.to(device).eval()


def read_description(folder: Path) -> dict[str, Any]:
    """`model.json` of a saved model: schema_version, settings, catalog, sha256 and extra.

    Raises:
        UserError: if there is none, or it is of another version or damaged.
    """
    file = folder / SETTINGS
    if not file.is_file():
        why = f"it lacks {SETTINGS}" if folder.is_dir() else "there is no such folder"
        raise UserError(f"{folder} is no fitted user model ({why}): {REMEDY}")
    try:
        description = json.loads(file.read_text())
    except ValueError as error:
        raise UserError(f"{file} is damaged ({_line(error)}): {REFIT}") from error
    version = description.get("schema_version") if isinstance(description, dict) else None
    if version != SCHEMA_VERSION:
        raise UserError(
            f"{file} has schema_version {version!r}: expected {SCHEMA_VERSION}, the one of this "
            f"version of RecGym; {REFIT}"
        )
    known: dict[str, Any] = description
    return known


def _build(
    state: dict[str, Tensor], tensors: dict[str, Any], description: dict[str, Any]
) -> SequenceModel:
    catalog = Catalog(**tensors, **description["catalog"])
    # a model is made in float32 and then cast; its own tensors replace what is made here
    single = dataclasses.replace(
        catalog,
        price=catalog.price.float(),
        feature=catalog.feature.float(),
        title=None if catalog.title is None else catalog.title.float(),
    )
    with torch.random.fork_rng(devices=[]):  # loading must not move anybody's random numbers
        model = KINDS[description["kind"]](
            catalog=single,
            seen_I=state["items.seen"].squeeze(-1).bool(),
            profile_BP=state["profile"].float(),
            start_ms_B=state["start_ms"],
            **description["settings"],
        )
    if "return_head.bias" in state:
        model.return_head = ReturnHead(len(state["return_head.weight"]) - NUM_SUMMARIES)
    model = model.to(state["items.own"].dtype)
    model.load_state_dict(state)
    model.catalog = catalog
    return model


def _check_target(folder: Path) -> None:
    other = folder.is_dir() and any(folder.iterdir()) and not (folder / SETTINGS).exists()
    if folder.is_file() or other:
        raise UserError(
            f"{folder} exists and is no fitted user model: expected a new folder, or a model to "
            "replace; remove it or name another"
        )


def _replace(folder: Path, temporary: Path) -> None:
    """Put the finished folder in place of an older one."""
    old = temporary.with_suffix(".old")
    if folder.exists():
        os.rename(folder, old)
    os.rename(temporary, folder)
    shutil.rmtree(old, ignore_errors=True)


def _sha256(file: Path) -> str:
    with file.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def _line(error: Exception) -> str:
    """The first line of a message, whose rest is often a page long."""
    return (str(error).strip().splitlines() or [type(error).__name__])[0]
