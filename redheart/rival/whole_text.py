"""The vectors of whole texts for the rival: made once and kept in one file beside the run's results.

What is kept here is known by the keys of the store of vectors, so a dataset that grew, or another one, costs what is new
in it.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

from redheart.config import EmbeddingConfig
from redheart.embedding import EmbeddedDataset
from redheart.errors import Interrupted, StorageError
from redheart.messages import note, text
from redheart.storage import replace_file

FILE_NAME = "whole_text.safetensors"
#: Counts changes of how a whole text is embedded.
_VERSION = 1
_AT_ONCE = 32

Vectors = NDArray[np.float32]


@dataclass(frozen=True)
class WholeTexts:
    """``vectors`` ``(indices, d_embed)``; None where they can't be had, and ``missing`` says why."""

    vectors: Vectors | None
    missing: str | None = None


def whole_texts(
    dataset: EmbeddedDataset,
    indices: NDArray[np.int64],
    config: EmbeddingConfig,
    folder: Path,
    *,
    should_stop: Callable[[], bool] = lambda: False,
) -> WholeTexts:
    """The whole text's vector of each situation at ``indices``, from the encoder that made the dataset's other vectors.

    Args:
        folder: where they are kept for the next time.

    Raises:
        Interrupted: ``should_stop`` said so; what was embedded is kept.
        StorageError: they could not be kept.
    """
    fingerprint = dataset.model_fingerprint
    if not fingerprint:
        return WholeTexts(None, text("rival_encoder_unknown", path=dataset.path))
    keys = [dataset.keys[index] for index in indices]
    kept = _read(folder / FILE_NAME, fingerprint, dataset.d_embed)
    todo = list(dict.fromkeys(key for key in keys if key not in kept))
    if todo:
        where = {key: index for key, index in zip(keys, indices, strict=True)}
        texts = [dataset.situations[where[key]].text for key in todo]
        missing = _embed(dataset, todo, texts, kept, config, folder, should_stop)
        if missing is not None:
            return WholeTexts(None, missing)
    return WholeTexts(np.stack([kept[key] for key in keys]))


def _embed(
    dataset: EmbeddedDataset,
    keys: Sequence[str],
    texts: Sequence[str],
    kept: dict[str, Vectors],
    config: EmbeddingConfig,
    folder: Path,
    should_stop: Callable[[], bool],
) -> str | None:
    """Adds the vectors of ``texts`` to ``kept`` and to the file; why not, where the encoder is not to be had."""
    from redheart.embedding.model_source import ModelSource, fingerprint_of, locate_model

    name, fingerprint = dataset.model_name, dataset.model_fingerprint
    found = locate_model(name) if name else None
    if found is None:
        return text("rival_encoder_absent", model=name)
    if fingerprint_of(found) != fingerprint:
        return text("rival_encoder_another", model=name)
    from redheart.embedding.encoder import Encoder

    encoder = Encoder(ModelSource(name, found, fingerprint), batch_size=config.batch_size, precision=config.precision)
    stopped = False
    with tqdm(total=len(keys), unit="situation", desc="whole texts for the rival", disable=None) as progress:
        for start in range(0, len(keys), _AT_ONCE):
            if stopped := should_stop():
                break
            some = texts[start : start + _AT_ONCE]
            kept |= zip(keys[start : start + _AT_ONCE], encoder.encode_whole(some), strict=True)
            progress.update(len(some))
    _write(folder / FILE_NAME, fingerprint, kept)
    if stopped:
        raise Interrupted("stopped while embedding whole texts for the rival; the same command goes on from there")
    return None


def _read(path: Path, fingerprint: str, d_embed: int) -> dict[str, Vectors]:
    """What is kept of this encoder's vectors; nothing where there is no file, or one of another encoder."""
    if not path.is_file():
        return {}
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(str(path), framework="numpy") as file:
            about = file.metadata() or {}
            vectors, keys = file.get_tensor("vectors"), json.loads(about.get("keys", "[]"))
    except (OSError, SafetensorError, json.JSONDecodeError) as error:
        raise StorageError(f"{path}: damaged: {error}; delete it, and it is made again") from error
    if (about.get("version"), about.get("encoder")) != (str(_VERSION), fingerprint) or vectors.shape[1] != d_embed:
        note(f"{path}: of another encoder, made again")
        return {}
    return dict(zip(keys, vectors, strict=True))


def _write(path: Path, fingerprint: str, kept: dict[str, Vectors]) -> None:
    if not kept:
        return
    from safetensors import SafetensorError
    from safetensors.numpy import save_file

    about = {"version": str(_VERSION), "encoder": fingerprint, "keys": json.dumps(list(kept))}

    def write(temporary: Path) -> None:
        try:
            save_file({"vectors": np.stack(list(kept.values()))}, str(temporary), metadata=about)
        except SafetensorError as error:  # a full disk comes back as this, without an errno
            raise StorageError(f"{path}: could not write (the previous file, if any, is intact): {error}") from error

    replace_file(path, write)
