"""The tokenizer of an encoder, loaded from its folder without its weights."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from redheart.embedding.language.reading import Cut, Pieces
from redheart.messages import debug

if TYPE_CHECKING:
    from tokenizers import Tokenizer

_UNKNOWN = ("[UNK]", "<unk>", "<UNK>", "[unk]")
#: A vocabulary with fewer entries holds letters or bytes: by design, not because a language is missing.
_SMALLEST_VOCABULARY = 1000
#: How tokenizers write the space before a word, which can be a piece of its own.
_SPACES = "▁Ġ "


def find_cut(folder: Path) -> Cut | None:
    """How the encoder in ``folder`` cuts texts; None where that tells nothing, or its tokenizer can't be loaded."""
    if not (folder / "config.json").is_file() and not (folder / "tokenizer.json").is_file():
        return None  # no encoder's folder: its vectors alone are here
    try:
        tokenizer = _load(folder)
    except Exception as error:  # a damaged or foreign folder fails in as many ways as there are libraries below
        debug(f"{folder}: its tokenizer could not be loaded: {type(error).__name__}: {error}")
        return None
    if tokenizer.get_vocab_size() < _SMALLEST_VOCABULARY:
        return None
    return cut_by(tokenizer)


def _load(folder: Path) -> Tokenizer:
    from tokenizers import Tokenizer

    file = next(
        (path for path in (folder / "tokenizer.json", *sorted(folder.glob("*/tokenizer.json"))) if path.is_file()), None
    )
    if file is not None:
        return Tokenizer.from_file(str(file))
    from transformers import AutoTokenizer  # takes a second: only for older folders, which it converts

    converted = AutoTokenizer.from_pretrained(str(folder), local_files_only=True).backend_tokenizer
    return Tokenizer.from_str(converted.to_str())


def cut_by(tokenizer: Tokenizer) -> Cut:
    """How ``tokenizer`` cuts texts. It is changed: it cuts nothing off and fills nothing up from now on."""
    tokenizer.no_truncation()
    tokenizer.no_padding()
    named = (*_UNKNOWN, getattr(tokenizer.model, "unk_token", None))
    unknown = {tokenizer.token_to_id(name) for name in named if name} - {None}

    def cut(text: str) -> Pieces:
        found = tokenizer.encode(text, add_special_tokens=False)
        return [
            (start, end, number not in unknown)
            for (start, end), number, token in zip(found.offsets, found.ids, found.tokens, strict=True)
            if end > start and token.strip(_SPACES)
        ]

    return cut
