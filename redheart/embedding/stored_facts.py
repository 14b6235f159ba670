"""Facts of an embedded dataset, stored beside its vectors so that it is read and checked once, not by every process.

One safetensors file: arrays, and a header that says what they were made from. They count only for exactly that – the
``.embedded.json`` and the store's index by their hashes, and the code that read them; whatever does not fit is made again.
"""

from __future__ import annotations

import hashlib
import unicodedata
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from pathlib import Path

import msgspec
import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save_file

import redheart
from redheart.data.facts import DatasetFacts
from redheart.data.reader import warn_of_outvoted_labels
from redheart.data.targets import Targets, target_sizes
from redheart.embedding.dataset import EmbeddedDataset, Sequences
from redheart.embedding.store import DATA_ENDING, INDEX_ENDING, MappedRows
from redheart.errors import StorageError
from redheart.messages import info, warn
from redheart.storage import fingerprint, replace_file, sha256_of
from redheart.storage.writable import is_writable

FACTS_NAME = "facts.safetensors"
#: What decides the facts: a change in any of these files makes them anew.
_DECIDING = {
    "redheart": ("tasks.py",),
    "redheart.data": (
        "annotation_check.py",
        "facts.py",
        "field_names.py",
        "identity.py",
        "problems.py",
        "reader.py",
        "schema.py",
        "splits.py",
        "targets.py",
        "validation.py",
    ),
    "redheart.data.files": ("foreign_files.py", "json_stream.py", "other_forms.py", "own_files.py", "text_window.py"),
    "redheart.embedding": (
        "dataset.py",
        "embedded_json.py",
        "index.py",
        "open_dataset.py",
        "store.py",
        "stored_facts.py",
    ),
}
Arrays = dict[str, NDArray[np.generic]]


class Source(msgspec.Struct, frozen=True):
    """What was embedded, and how.

    Attributes:
        sha256: of the file that was read.
        settings: of the encoder's fingerprint and of how texts are cut.
        inline: whether the ``.embedded.json`` holds the vectors as lists too.
    """

    sha256: str
    settings: str
    inline: bool


class FactsHeader(msgspec.Struct, frozen=True):
    """What stored facts belong to, and what of them is not an array.

    Attributes:
        made_by: hash of the code that made them.
        embedded: SHA-256 of the ``.embedded.json``.
        index: SHA-256 of the store's index.
        store: fingerprint of the model, which names the store's files.
        rows: that the store's file must hold.
        source: what the ``.embedded.json`` was written from, where embedding made the facts.
    """

    made_by: str
    embedded: str
    index: str
    store: str
    rows: int
    d_embed: int
    model_name: str
    identity: str
    outvoted: int
    first_outvoted: str
    source: Source | None = None


@dataclass(frozen=True, slots=True)
class StoredFacts:
    """A dataset that was opened from its stored facts, and their header."""

    header: FactsHeader
    dataset: EmbeddedDataset


class _Unfit(Exception):
    """Stored facts can't be used; its text says why."""


@cache
def made_by() -> str:
    """A hash of the code that decides what the facts are, and of the tables of Unicode that normalise texts."""
    code = [
        hashlib.sha256((files(package) / name).read_bytes()).hexdigest()
        for package, names in _DECIDING.items()
        for name in names
        if (files(package) / name).is_file()  # an installation without sources goes by its version
    ]
    return fingerprint([redheart.__version__, unicodedata.unidata_version, code])


def header_of(dataset: EmbeddedDataset, embedded: str, index: str, source: Source | None) -> FactsHeader:
    """The header of ``dataset``'s facts; ``embedded`` and ``index``: SHA-256 of the two files it was opened from."""
    rows = dataset.mapped
    assert rows is not None
    return FactsHeader(
        made_by=made_by(),
        embedded=embedded,
        index=index,
        store=rows.fingerprint,
        rows=dataset.sequences.rows,
        d_embed=dataset.d_embed,
        model_name=dataset.model_name,
        identity=dataset.identity,
        outvoted=dataset.facts.outvoted,
        first_outvoted=dataset.facts.first_outvoted,
        source=source,
    )


def _checksum(header: bytes, arrays: Mapping[str, NDArray[np.generic]]) -> str:
    digest = hashlib.blake2b(header, digest_size=16)
    for name in sorted(arrays):
        digest.update(f"{name} {arrays[name].dtype} {arrays[name].shape}".encode())
        digest.update(np.ascontiguousarray(arrays[name]).data)
    return digest.hexdigest()


def _lines(texts: list[str] | tuple[str, ...]) -> NDArray[np.uint8]:
    """Texts without line ends, as ids and keys are, as one array of bytes."""
    return np.frombuffer("\n".join(texts).encode(), np.uint8)


def _arrays_of(dataset: EmbeddedDataset) -> Arrays:
    facts, sequences = dataset.facts, dataset.sequences
    return {
        "ids": _lines(facts.ids),
        "splits": facts.splits,
        "text_hashes": facts.text_hashes,
        "has_target": facts.has_target,
        **{f"values.{name}": values for name, values in facts.targets.values.items()},
        **{f"mask.{name}": known for name, known in facts.targets.mask.items()},
        "keys": _lines(sequences.keys),
        "first_rows": sequences.first_rows,
        "counts": sequences.counts,
        "kinds": sequences.kinds,
    }


def store_facts(folder: Path, dataset: EmbeddedDataset, header: FactsHeader) -> None:
    """Writes the facts into a vectors folder, whole or not at all, unless they are there; where they can't be, it goes on.

    They save time and decide nothing: a folder that may not be written is left as it is, and a full disk is only told.
    """
    try:
        if _is_stored(folder, header) or not is_writable(folder):
            return
        written = msgspec.json.encode(header)
        arrays = {name: np.ascontiguousarray(array) for name, array in _arrays_of(dataset).items()}
        about = {"header": written.decode(), "checksum": _checksum(written, arrays)}
        replace_file(folder / FACTS_NAME, lambda temporary: save_file(arrays, temporary, metadata=about))
    except StorageError as error:
        warn("embedding.facts_not_stored", path=folder / FACTS_NAME, error=error)


def _is_stored(folder: Path, header: FactsHeader) -> bool:
    """Whether facts with this header are there, whole."""
    try:
        return _read(folder / FACTS_NAME)[0] == header
    except _Unfit:
        return False


def read_header(folder: Path) -> FactsHeader | None:
    """The header of a folder's facts; None where there is none that can be read. The arrays are not looked at."""
    try:
        with safe_open(folder / FACTS_NAME, "numpy") as opened:
            return msgspec.json.decode((opened.metadata() or {})["header"], type=FactsHeader)
    except (OSError, SafetensorError, KeyError, msgspec.DecodeError):
        return None


def _read(file: Path) -> tuple[FactsHeader, Arrays]:
    try:
        with safe_open(file, "numpy") as opened:
            about = opened.metadata() or {}
            arrays: Arrays = {name: opened.get_tensor(name) for name in opened.keys()}  # noqa: SIM118 – not a mapping
        written = about["header"].encode()
        if _checksum(written, arrays) != about["checksum"]:
            raise _Unfit("damaged: another checksum")
        return msgspec.json.decode(written, type=FactsHeader), arrays
    except (OSError, SafetensorError, KeyError, msgspec.DecodeError) as error:
        raise _Unfit(f"damaged: {error}") from error


def _check(header: FactsHeader, path: Path, folder: Path) -> None:
    """Whether facts with this header are those of ``path`` and ``folder`` as they are now."""
    if header.made_by != made_by():
        raise _Unfit("another version of the program made it")
    try:
        if sha256_of(folder / f"{header.store}{INDEX_ENDING}") != header.index:
            raise _Unfit("the index of the vectors has changed")
        if (folder / f"{header.store}{DATA_ENDING}").stat().st_size < header.rows * header.d_embed * 4:
            raise _Unfit("vectors are missing")
        if sha256_of(path) != header.embedded:
            raise _Unfit("the dataset has changed")
    except OSError as error:
        raise _Unfit(f"{error.filename}: {error.strerror or error}") from error


def load_facts(path: Path, folder: Path) -> StoredFacts | None:
    """Opens the embedded dataset ``path`` from the facts in its vectors folder; None where there are none that fit it."""
    file = folder / FACTS_NAME
    if not file.exists() or not path.exists():
        return None
    try:
        header, arrays = _read(file)
        _check(header, path, folder)
    except _Unfit as why:
        info("embedding.facts_made_again", path=file, why=why)
        return None
    warn_of_outvoted_labels(path, header.outvoted, header.first_outvoted)
    return StoredFacts(header, _dataset(path, folder, header, arrays))


def _texts(lines: NDArray[np.generic]) -> list[str]:
    return lines.tobytes().decode().split("\n")


def _dataset(path: Path, folder: Path, header: FactsHeader, arrays: Arrays) -> EmbeddedDataset:
    targets = Targets(
        {name: arrays[f"values.{name}"].view(np.float32) for name in target_sizes()},
        {name: arrays[f"mask.{name}"].view(np.bool_) for name in target_sizes()},
    )
    facts = DatasetFacts(
        _texts(arrays["ids"]),
        arrays["splits"].view(np.int8),
        arrays["text_hashes"].view(np.uint64),
        arrays["has_target"].view(np.bool_),
        targets,
        header.outvoted,
        header.first_outvoted,
    )
    sequences = Sequences(
        tuple(_texts(arrays["keys"])),
        arrays["first_rows"].view(np.int64),
        arrays["counts"].view(np.int64),
        arrays["kinds"].view(np.int8),
    )
    rows = MappedRows(folder / f"{header.store}{DATA_ENDING}", header.rows, header.d_embed)
    return EmbeddedDataset(path, facts, sequences, rows, identity=header.identity, model_name=header.model_name)
