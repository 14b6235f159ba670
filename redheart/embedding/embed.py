"""The stage ``embed``: reuses the vectors that are there, embeds the missing ones and stores them batch by batch.

An item is known by a hash of its title, action and text, of the model, and of how it is cut. So a changed item alone is
embedded again, and a run that was killed goes on where it was: it loses one batch at most. A dataset that has not changed
since it was embedded is not even read: the facts stored beside its vectors say so.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from redheart.config import MAX_SEGMENTS, EmbeddingConfig
from redheart.data.facts import DatasetFacts
from redheart.data.identity import identity_of
from redheart.embedding import embedded_json
from redheart.embedding.dataset import EmbeddedDataset
from redheart.embedding.embedded_json import Receipt, inline_vectors
from redheart.embedding.language import stored as language
from redheart.embedding.language.reading import Reading, StorySample
from redheart.embedding.language.tokenizer import find_cut
from redheart.embedding.lock import locked
from redheart.embedding.missing import Contents, Inventory, fill, settings_of, take_inventory
from redheart.embedding.model_source import ModelSource, find_model, warn_of_prompt
from redheart.embedding.open_dataset import in_memory, read_embedded, sequences_in
from redheart.embedding.paths import EmbeddingPaths, paths_in, target_paths
from redheart.embedding.stored_facts import Source, header_of, load_facts, read_header, store_facts
from redheart.errors import DataError, MissingRequirement, StorageError
from redheart.messages import debug, info, warn
from redheart.storage import sha256_of
from redheart.storage.names import as_typed


@dataclass(frozen=True)
class _Request:
    """What ``embed_dataset`` was asked for."""

    dataset: Path
    config: EmbeddingConfig
    target: EmbeddingPaths
    inline: bool
    should_stop: Callable[[], bool] | None

    @property
    def is_target(self) -> bool:
        """Whether the dataset is the file that would be written."""
        return self.dataset.resolve() == self.target.json.resolve()

    def settings(self, model_fingerprint: str) -> str:
        """What decides the vectors of a text."""
        return settings_of(model_fingerprint, self.config)


def embed_dataset(
    dataset: Path,
    config: EmbeddingConfig,
    *,
    output_root: Path,
    inline: bool = False,
    force: bool = False,
    verify: bool = False,
    check: Callable[[DatasetFacts], object] = lambda facts: None,
    should_stop: Callable[[], bool] | None = None,
) -> EmbeddedDataset:
    """Reads a dataset, sees that every item has its vectors, and writes its ``.embedded.json`` if that changed.

    Args:
        dataset: a JSON array or JSON Lines, or an ``.embedded.json``, whose vectors are then reused.
        output_root: where ``embeddings/`` is made if the dataset's own folder can't be written, and for the sample.
        inline: write the vectors into the JSON as lists too (also if ``config.inline`` says so).
        force: embed everything again, vectors written as lists by an older program included.
        verify: compare the stored vectors with their checksums first, and embed the damaged ones again.
        check: given the dataset's facts before anything is embedded; raises where a later stage would refuse it.
        should_stop: looked at after every batch; True ends the run with what was embedded stored.

    Raises:
        DataError: the dataset is broken; nothing was written.
        MissingRequirement: something is to be embedded and the model is not to be had.
        StorageError: the disk is full or a file is damaged; what was stored before is intact.
        Interrupted: ``should_stop`` said so; the same call goes on from there.
    """
    # Of a file that is not there, reading says so.
    target = target_paths(dataset, output_root) if dataset.exists() else paths_in(dataset.parent, dataset)
    request = _Request(dataset, config, target, inline or config.inline, should_stop)
    if not force and not verify:
        unchanged = _unchanged(request)
        if unchanged is not None:
            check(unchanged.facts)
            return unchanged
    contents = Contents(dataset, config, target, force=force)
    facts = DatasetFacts.of(contents.situations)
    check(facts)
    if contents.older == len(contents.situations):
        return _older_dataset(contents)
    source = contents.find_source()
    inventory = take_inventory(contents, source, verify=verify)
    _say_status(total=len(inventory.keys), missing=inventory.missing)
    reading = _reading(contents, source)
    language.say(reading)
    if contents.older:
        warn("embedding.older_vectors", path=dataset, count=contents.older, typed=as_typed(dataset))
    wrote = bool(inventory.absent or inventory.imported)
    if wrote:
        fill(contents, inventory, source, lambda: locked(target.vectors, should_stop), should_stop)
    made = _dataset_of(request, contents, facts, inventory)
    embedded_sha256 = _written_before(request, contents, made)
    if embedded_sha256 is None:
        with locked(target.vectors, should_stop):
            embedded_sha256 = _write(request, contents, made)
        wrote = True
    if reading is None:  # the encoder is not here any more: what it could not read was stored
        language.say(language.read_reading(target.vectors, made.identity))
    language.store_reading(target.vectors, made.identity, reading)
    _keep_facts(request, contents, made, embedded_sha256, inventory.store.index_sha256)
    if wrote:
        info("embedding.saved")
        info("embedding.saved_where", path=target.json)
    return made


def _unchanged(request: _Request) -> EmbeddedDataset | None:
    """The dataset where nothing at all has changed since it was embedded, by its content; it is not read again."""
    stored = load_facts(request.target.json, request.target.vectors)
    if stored is None or stored.header.source is None or stored.header.source.inline != request.inline:
        return None
    try:
        if not request.is_target and sha256_of(request.dataset) != stored.header.source.sha256:
            return None
    except OSError:
        return None  # reading says what is wrong with the file
    try:
        source = find_model(request.config.model, request.config.prompt)
    except MissingRequirement:
        if stored.header.model_name != request.config.model:
            return None
        source = ModelSource(request.config.model, request.target.vectors, stored.header.store, request.config.prompt)
        if request.settings(source.fingerprint) == stored.header.source.settings:
            warn("embedding.model_not_here", model=request.config.model)
    if request.settings(source.fingerprint) != stored.header.source.settings:
        return None
    _say_status(total=len(stored.dataset), missing=0)
    language.say(language.read_reading(request.target.vectors, stored.dataset.identity))
    return stored.dataset


def _reading(contents: Contents, source: ModelSource) -> Reading | None:
    """What the encoder can't read; None where its tokenizer does not tell, or is not here. Warns of a prompt that is missing."""
    warn_of_prompt(contents.config)
    cut = find_cut(source.folder)
    return StorySample.of(contents.situations).read_by(cut, contents.config.model) if cut is not None else None


def _older_dataset(contents: Contents) -> EmbeddedDataset:
    """A dataset whose every item brings an older program's vectors: used as they are, nothing is written."""
    # As whoever opens the file finds them: not merged to what new texts would be cut into.
    each = [inline_vectors(one, path=contents.dataset, max_segments=MAX_SEGMENTS) for one in contents.situations]
    found = [one for one in each if one is not None]
    _say_status(total=len(found), missing=0)
    warn("embedding.older_vectors", path=contents.dataset, count=len(found), typed=as_typed(contents.dataset))
    return in_memory(contents.dataset, contents.situations, found, [None] * len(found))


def _say_status(*, total: int, missing: int) -> None:
    there = total - missing
    info("embedding.status")
    info("embedding.total", count=total)
    info("embedding.there", count=there, percent=f"{100 * there / total:.1f}")
    info("embedding.missing", count=missing, percent=f"{100 * missing / total:.1f}")


def _dataset_of(request: _Request, contents: Contents, facts: DatasetFacts, inventory: Inventory) -> EmbeddedDataset:
    store, keys = inventory.store, inventory.keys
    return EmbeddedDataset(
        request.target.json,
        facts,
        sequences_in(store, keys),
        store.mapped,
        identity=identity_of(contents.situations, keys),
        model_name=store.model_name,
    )


def _written_before(request: _Request, contents: Contents, made: EmbeddedDataset) -> str | None:
    """The SHA-256 of the ``.embedded.json`` where it is what would be written now; None where it has to be written."""
    target, inline = request.target, request.inline
    if request.is_target:
        keys_as_written = all(one.embedding_key == key for one, key in zip(contents.situations, made.keys, strict=True))
        lists_as_asked = inline == all(one.embedding is not None for one in contents.situations)
        return contents.sha256 if keys_as_written and lists_as_asked else None
    if not embedded_json.is_current(target.vectors, request.dataset, target.json, made.identity, inline=inline):
        return None
    # Sizes and times agree; but a file may have been edited in place, and facts must not be told of what it does not hold.
    sha256 = sha256_of(target.json)
    header = read_header(target.vectors)
    if header is not None and header.embedded == sha256:
        return sha256 if header.identity == made.identity else None
    try:
        read = read_embedded(target.json)
    except (DataError, StorageError):
        return None
    return read.sha256 if read.dataset.identity == made.identity else None


def _write(request: _Request, contents: Contents, made: EmbeddedDataset) -> str:
    """Writes the ``.embedded.json``; its SHA-256."""
    target = request.target
    if embedded_json.is_foreign(target.json):
        kept = target.json.with_name(f"{target.json.name}.older")
        try:
            target.json.replace(kept)
        except OSError as error:
            raise StorageError(f"{target.json}: could not move to {kept.name}: {error.strerror or error}") from error
        warn("embedding.older_file_kept", path=target.json, kept=kept.name)
    sha256 = embedded_json.write_embedded_json(target.json, contents.situations, made, inline=request.inline)
    Receipt.of(request.dataset, target.json, made.identity, inline=request.inline).write(target.vectors)
    debug(f"{target.json} written, {len(made)} items, {made.d_embed} numbers per vector")
    return sha256


def _keep_facts(request: _Request, contents: Contents, made: EmbeddedDataset, embedded: str, index: str) -> None:
    """Stores the facts beside the vectors, with what they were made from.

    Vectors of an older program are said at each embedding, so a dataset with some is read each time.
    """
    if made.sequences.without_whole_text():
        return  # it can't be opened
    source = None
    if not contents.older and made.model_fingerprint:
        read = embedded if request.is_target else contents.sha256
        source = Source(read, request.settings(made.model_fingerprint), request.inline)
    store_facts(request.target.vectors, made, header_of(made, embedded, index, source))
