"""Shops by name: true shops (`world:NAME`) and shops learned from a log (`model:DIR`)."""

from __future__ import annotations

from collections.abc import Callable
from importlib.resources import files
from pathlib import Path
from typing import Any

import torch
from omegaconf import DictConfig, OmegaConf
from torch import nn

from recgym.build import build
from recgym.errors import UserError
from recgym.spaces import Encoder
from recgym.users.base import Shoppers
from recgym.worlds.taste import TasteShop
from recgym.worlds.tiny import TinyShop

WORLDS: dict[str, Callable[..., Any]] = {"default": TasteShop, "tiny": TinyShop}


def open_shop(name: str, device: str | torch.device = "cpu") -> tuple[Shoppers, Shoppers | None]:
    """The shop of this name, and the fitted user model that encodes observations, if it has one.

    Args:
        name: `world:NAME` or `world:NAME:SEED`, from `conf/world/NAME.yaml` or `WORLDS`; or
            `model:DIR`, the folder of a fit.
        device: `cpu`, `cuda`, or `auto` for CUDA where there is a device.
    """
    device = choose_device(device)
    kind, _, rest = name.partition(":")
    if kind == "world" and rest:
        return _open_world(rest, device), None
    if kind == "model" and rest:
        return with_encoder(_open_model(Path(rest), device))
    raise UserError(f"shop={name!r} is unknown: expected 'world:NAME' or 'model:DIR'.")


def with_encoder(shop: Shoppers) -> tuple[Shoppers, Shoppers | None]:
    """The shop, and itself again where its state can be read as a vector."""
    if isinstance(shop, nn.Module):
        shop.eval()  # dropout would be noise from outside the lane seeds
    return shop, shop if isinstance(shop, Encoder) else None


def choose_device(device: str | torch.device) -> torch.device:
    """The device meant; `auto` is CUDA where there is one."""
    if device == "auto":
        device = "cuda" if torch.cuda.is_available() else "cpu"
    try:
        chosen = torch.device(device)
    except RuntimeError:
        raise UserError(
            f"device={device!r} is unknown: expected 'cpu', 'cuda' or 'auto'."
        ) from None
    if chosen.type == "cuda" and not torch.cuda.is_available():
        raise UserError(f"device={str(device)!r}, but no CUDA device is found: use device='auto'.")
    return chosen


def _open_world(asked: str, device: torch.device) -> Shoppers:
    name, colon, seed = asked.partition(":")
    changed: dict[str, Any] = {"device": str(device)}
    if colon:
        if not (seed.isascii() and seed.isdigit()):
            raise UserError(f"shop='world:{asked}': expected a whole number behind the last colon.")
        changed["seed"] = int(seed)
    folder = files("conf") / "world"
    described = {
        Path(file.name).stem: file
        for file in (folder.iterdir() if folder.is_dir() else [])
        if file.name.endswith(".yaml")
    }
    if name in described:
        config = OmegaConf.create(described[name].read_text(encoding="utf-8"))
        assert isinstance(config, DictConfig)
        shop: Shoppers = build(config, **changed)
        return shop
    if name in WORLDS:
        known_shop: Shoppers = WORLDS[name](**changed)
        return known_shop
    known = ", ".join(sorted({*described, *WORLDS}))
    raise UserError(f"shop='world:{name}' is unknown: the worlds are {known}.")


def _open_model(folder: Path, device: torch.device) -> Shoppers:
    if not folder.is_dir():
        raise UserError(
            f"shop='model:{folder}': there is no such folder; python -m recgym.fit makes one."
        )
    from recgym.users.store import load_model

    model: Shoppers = load_model(folder, device)
    return model
