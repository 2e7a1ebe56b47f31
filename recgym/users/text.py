"""Vectors of items' titles, by a BERT-type model that lies in a local folder.

What an item is called says what it is like before anybody has met it. The encoder is frozen, read
from the disk and never fetched: a title's vector is the mean of its last layer over the title's
tokens (Devlin et al. 2019, "BERT"; Reimers and Gurevych 2019, "Sentence-BERT", section 3, the
pooling MEAN). Over the catalogue, vectors are cut to their leading principal components, and an
item without a title has the mean of the others: 0.

Vectors are kept in the cache, under the content of the encoder and of the titles.
"""

from __future__ import annotations

import hashlib
import importlib.util
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import torch
from torch import Tensor

from recgym.errors import UserError
from recgym.files import beside
from recgym.locks import made_once
from recgym.logs.log import Log
from recgym.settings import Count, Within

SETTING = "user_model.text"
WEIGHTS = ("model.safetensors", "pytorch_model.bin")  # or an index of several files
BATCH = 128  # titles
RANK = 1e-6  # of the largest singular value: none below is of the titles
META = "vectors.pt"


@dataclass(frozen=True)
class TextSettings:
    """Which titles are read, and by what: the settings of ``user_model.text``.

    Attributes:
        encoder: folder with a model and a tokenizer as ``save_pretrained`` leaves them; None reads
            no titles.
        column: of the log's items.
        dimensions: principal components that are kept, at most.
        max_tokens: of a title; what is longer is cut.
    """

    encoder: str | None = None
    column: str = "title"
    dimensions: Count = 16
    max_tokens: Annotated[int, Within(4, 512)] = 32


def check_encoder(settings: TextSettings) -> None:
    """Stop before any work where there is no encoder to be read.

    Raises:
        UserError: naming what is missing.
    """
    if settings.encoder is None:
        return
    if importlib.util.find_spec("transformers") is None:
        raise UserError(
            f"{SETTING}.encoder needs the package transformers, which is not installed: "
            f"pip install 'recgym[text]', or leave {SETTING}.encoder out."
        )
    folder, remedy = Path(settings.encoder), "save one there with save_pretrained of transformers."
    if not folder.is_dir():
        raise UserError(f"{SETTING}.encoder={folder} is no folder: expected one; {remedy}")
    if not (folder / "config.json").is_file():
        raise UserError(f"{SETTING}.encoder={folder} holds no config.json: expected one; {remedy}")
    if not any(any(folder.glob(f"{name}*")) for name in WEIGHTS):
        raise UserError(
            f"{SETTING}.encoder={folder} holds no weights: expected {' or '.join(WEIGHTS)} beside "
            f"config.json; {remedy}"
        )


def titles_of(log: Log, column: str) -> list[str | None]:
    """Each item's title, None where it has none.

    Raises:
        UserError: if the log's items have no such column, or nothing in it.
    """
    names = [name for name, *_ in log.db.execute("DESCRIBE items").fetchall()]
    if column not in names:
        known = ", ".join(name for name in names if name != "code")
        raise UserError(
            f"the items of the log {log.meta.get('source', log.folder)} have no column {column}: "
            f"expected one of {known}; set {SETTING}.column=NAME, or {SETTING}.encoder=null."
        )
    quoted = '"' + column.replace('"', '""') + '"'
    rows = log.db.execute(f"SELECT CAST({quoted} AS VARCHAR) FROM items ORDER BY code").fetchall()
    titles = [None if text is None or not text.strip() else text.strip() for (text,) in rows]
    if not any(titles):
        raise UserError(
            f"the items of the log {log.meta.get('source', log.folder)} have nothing in their "
            f"column {column}: expected titles; leave {SETTING}.encoder out."
        )
    return titles


def key_of_text(titles: Sequence[str | None], settings: TextSettings) -> str:
    """A short hash of all that decides the vectors, the encoder by its content."""
    assert settings.encoder is not None
    found = hashlib.sha256(repr((list(titles), settings.dimensions, settings.max_tokens)).encode())
    for file in sorted(Path(settings.encoder).iterdir()):
        if file.is_file():
            found.update(file.name.encode())
            with file.open("rb") as content:
                found.update(hashlib.file_digest(content, "sha256").digest())
    return found.hexdigest()[:16]


def title_vectors(
    titles: Sequence[str | None], settings: TextSettings, cache: Path, device: torch.device
) -> Tensor:
    """The items' vectors, from the cache where they are there, [I, E].

    Raises:
        UserError: if the encoder cannot be read.
    """
    folder = cache / f"text-{key_of_text(titles, settings)}"

    def make() -> None:
        vector_IE = principal(_encoded(titles, settings, device), settings.dimensions)
        if not vector_IE.shape[1]:
            raise UserError(
                f"{SETTING}.encoder={settings.encoder} tells no two titles of the log apart: "
                f"expected titles that differ in its words; set {SETTING}.column=NAME, or leave "
                f"{SETTING}.encoder out."
            )
        folder.mkdir(parents=True, exist_ok=True)
        with beside(folder / META) as place:
            torch.save(vector_IE, place)

    made_once(folder, META, make)
    found: Tensor = torch.load(folder / META, weights_only=True)
    return found


def principal(vector_IH: Tensor, dimensions: int) -> Tensor:
    """The leading principal components of the rows that are not NaN, [I, E]; 0 for the others.

    Scaled as a whole, so that they keep their proportions, to a mean square of 1.
    """
    known_I = vector_IH.isfinite().all(-1)
    centred = vector_IH[known_I].double()
    centred = centred - centred.mean(0)
    left, size, _ = torch.linalg.svd(centred, full_matrices=False)
    kept = min(dimensions, int((size > RANK * size.max()).sum()))  # the rest is rounding
    component = left[:, :kept] * size[:kept]
    scale = component.square().mean().sqrt().clamp(min=torch.finfo(torch.float32).tiny)
    found = torch.zeros(len(vector_IH), kept)
    found[known_I] = (component / scale).float()
    return found


@torch.no_grad()
def _encoded(titles: Sequence[str | None], settings: TextSettings, device: torch.device) -> Tensor:
    """Mean of the last layer over each title's tokens, [I, H]; NaN without a title."""
    from transformers import AutoModel, AutoTokenizer
    from transformers.utils import logging

    logging.disable_progress_bar()  # ours is on the screen
    try:
        tokenizer = AutoTokenizer.from_pretrained(str(settings.encoder), local_files_only=True)
        encoder = AutoModel.from_pretrained(str(settings.encoder), local_files_only=True)
    except Exception as error:  # whatever its readers raise of somebody's folder
        line = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        raise UserError(
            f"{SETTING}.encoder={settings.encoder} cannot be read ({line}): expected a BERT-type "
            "model and its tokenizer as save_pretrained leaves them."
        ) from error
    encoder.to(device).eval()
    place = [i for i, title in enumerate(titles) if title is not None]
    place.sort(key=lambda i: len(titles[i] or ""))  # titles of like length share a batch
    vector_IH = torch.full((len(titles), encoder.config.hidden_size), torch.nan)
    for start in range(0, len(place), BATCH):
        part = place[start : start + BATCH]
        inputs = tokenizer(
            [titles[i] for i in part],
            padding=True,
            truncation=True,
            max_length=settings.max_tokens,
            return_tensors="pt",
        ).to(device)
        layer_bTH = encoder(**inputs).last_hidden_state
        token_bT1 = inputs["attention_mask"].unsqueeze(-1).to(layer_bTH.dtype)
        mean_bH = (layer_bTH * token_bT1).sum(1) / token_bT1.sum(1).clamp(min=1.0)
        vector_IH[part] = mean_bH.cpu().float()
    return vector_IH
