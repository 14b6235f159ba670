"""Made-up stories with targets that follow from their words, and a sentence encoder of a few thousand random numbers."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np

WIDTH = 8
WHO = ("sister", "neighbour", "boss", "friend", "father", "teacher")
WHAT = ("car", "secret", "money", "letter", "cat", "idea")
DID = ("took", "told", "lost", "hid", "sold", "kept")
FELT = ("glad", "angry", "sad", "proud", "ashamed", "afraid", "calm")
LABELS = ("AUTHOR", "OTHER", "EVERYBODY", "NOBODY", "INFO")
BENTHAM = ("intensity", "duration", "certainty", "propinquity", "fecundity", "purity", "extent")
SURD = ("selection", "uncertainty", "risk", "decision")
#: All words there are, and single letters for others.
_LETTERS = "abcdefghijklmnopqrstuvwxyz0123456789"
_WORDS = "i my the it of she he was and then asked me about said nothing for days in end we talked ever since story"


def _story(number: int) -> dict[str, Any]:
    generator = np.random.default_rng([11, number])
    who, what, did, felt = (int(generator.integers(len(words))) for words in (WHO, WHAT, DID, FELT))
    shares = generator.dirichlet(np.ones(7)) * 0.4
    shares[felt] += 0.6
    votes = generator.integers(0, 4, 5)
    votes[did % 5] += 9
    guilt = (did + felt / 7) / 6

    def near(value: float) -> float:
        return round(float(np.clip(value + 0.05 * generator.standard_normal(), 0, 1)), 3)

    return {
        "id": f"s{number}",
        "title": f"My {WHO[who]} and the {WHAT[what]}",
        "action": f"I {DID[did]} it",
        "text": f"Story {number}. I {DID[did]} the {WHAT[what]} of my {WHO[who]}. My {WHO[who]} asked me about it, and I said "
        f"nothing for days. In the end we talked. I was {FELT[felt]} ever since.",
        "label": LABELS[int(votes.argmax())],
        "label_scores": {name: int(vote) for name, vote in zip(LABELS, votes, strict=True)},
        "emotions": [round(float(share), 4) for share in shares[:-1]]
        + [round(1 - float(shares[:-1].round(4).sum()), 4)],
        "regret_factor": near(guilt),
        "bentham_scores": {name: near((guilt + place / 7) / 2) for place, name in enumerate(BENTHAM)},
        "surd_metrics": {name: near((1 - guilt + place / 4) / 2) for place, name in enumerate(SURD)},
    }


def write_stories(path: Path, count: int = 52) -> None:
    path.write_text(json.dumps([_story(number) for number in range(count)], indent=0), encoding="utf-8")


def write_encoder(folder: Path) -> None:
    """A SentenceTransformer, written as the library of that name reads it in every version that the project allows."""
    import torch
    from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors
    from transformers import BertConfig, BertModel, PreTrainedTokenizerFast

    words = sorted({*_WORDS.split(), *WHO, *WHAT, *DID, *FELT, *_LETTERS, ".", ",", "?", "!"})
    names = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", *words, *(f"##{letter}" for letter in _LETTERS)]
    vocabulary = {name: place for place, name in enumerate(names)}
    tokenizer = Tokenizer(models.WordPiece(vocabulary, unk_token="[UNK]"))
    tokenizer.normalizer = normalizers.BertNormalizer(lowercase=True)
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    special = [("[CLS]", vocabulary["[CLS]"]), ("[SEP]", vocabulary["[SEP]"])]
    tokenizer.post_processor = processors.TemplateProcessing(single="[CLS] $A [SEP]", special_tokens=special)
    torch.manual_seed(0)
    config = BertConfig(
        vocab_size=len(names),
        hidden_size=WIDTH,
        num_hidden_layers=1,
        num_attention_heads=2,
        intermediate_size=WIDTH,
        max_position_embeddings=64,
        initializer_range=1.0,
    )
    BertModel(config).save_pretrained(folder)
    PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        unk_token="[UNK]",
        pad_token="[PAD]",
        cls_token="[CLS]",
        sep_token="[SEP]",
        model_max_length=64,
    ).save_pretrained(folder)
    kinds = {"": "Transformer", "1_Pooling": "Pooling", "2_Normalize": "Normalize"}
    modules = [
        {"idx": place, "name": str(place), "path": path, "type": f"sentence_transformers.models.{kind}"}
        for place, (path, kind) in enumerate(kinds.items())
    ]
    (folder / "1_Pooling").mkdir()
    (folder / "2_Normalize").mkdir()
    pooling = {"word_embedding_dimension": WIDTH, "pooling_mode_mean_tokens": True}
    for name, content in (
        ("modules.json", modules),
        ("sentence_bert_config.json", {"max_seq_length": 64, "do_lower_case": False}),
        ("1_Pooling/config.json", pooling),
    ):
        (folder / name).write_text(json.dumps(content), encoding="utf-8")
