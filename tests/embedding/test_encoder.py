"""The encoder gives what the model gives, means what it should, and is never replaced by something else."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from redheart.data import Situation
from redheart.embedding import missing
from redheart.embedding.encoder import Encoder
from redheart.embedding.model_source import ModelSource, find_model, fingerprint_of
from redheart.embedding.segments import ACTION, TITLE, WHOLE, WINDOW, Part, Segment
from redheart.errors import MissingRequirement, OutOfMemory
from tests.embedding.conftest import WatchedNetwork

TEXTS = [
    "I broke my neighbour's window and did not tell her.",
    "I smashed the window of the woman next door and kept silent about it.",
    "The quarterly report lists the company's revenue by region.",
    "no",
    "He apologised. " * 20,
]


def test_vectors_equal_those_of_sentence_transformers(encoder: Encoder, source: ModelSource) -> None:
    from sentence_transformers import SentenceTransformer

    reference = SentenceTransformer(str(source.folder), device="cpu", local_files_only=True)
    expected = np.stack([reference.encode(text) for text in TEXTS])  # one at a time: no padding
    found = encoder.encode(TEXTS)
    assert found.dtype == np.float32
    np.testing.assert_allclose(found, expected, atol=2e-6)


def test_paraphrases_are_closer_than_unrelated_texts(encoder: Encoder) -> None:
    vectors = encoder.encode(TEXTS[:3])
    assert vectors[0] @ vectors[1] > 0.6
    assert vectors[0] @ vectors[2] < 0.2


def test_bf16_stays_within_a_cosine_of_99_percent(encoder: Encoder, source: ModelSource) -> None:
    half = Encoder(source, precision="bf16", device="cpu")
    assert half.precision == "bf16"
    found, expected = half.encode(TEXTS), encoder.encode(TEXTS)
    assert found.dtype == np.float32
    cosines = (found * expected).sum(1) / np.linalg.norm(found, axis=1) / np.linalg.norm(expected, axis=1)
    assert cosines.min() >= 0.99
    assert not np.array_equal(found, expected)


def test_fp32_means_fp32_where_the_weights_are_stored_as_fp16(source: ModelSource, tmp_path: Path) -> None:
    folder = tmp_path / "halved"
    shutil.copytree(source.folder, folder)
    (weights,) = folder.glob("*.safetensors")
    halved = {name: one.half() if one.is_floating_point() else one for name, one in load_file(weights).items()}
    save_file(halved, weights, metadata={"format": "pt"})
    encoder = Encoder(ModelSource("halved", folder, "0" * 16), precision="auto", device="cpu")
    assert {parameter.dtype for parameter in encoder._model.parameters()} == {torch.float32}


def test_automatic_precision_is_fp32_on_a_cpu(encoder: Encoder, source: ModelSource) -> None:
    assert Encoder(source, precision="auto", device="cpu").precision == "fp32"
    assert encoder.precision == "fp32"


def test_order_does_not_depend_on_batches_of_like_length(encoder: Encoder) -> None:
    texts = [f"{'long ' * (number * 7 % 23)}text {number}" for number in range(50)]
    together = encoder.encode(texts)
    alone = np.concatenate([encoder.encode([text]) for text in texts])
    np.testing.assert_allclose(together, alone, atol=2e-6)


def test_a_segment_in_parts_is_their_mean_by_word_pieces_at_unit_length(encoder: Encoder) -> None:
    parts = (Part("The first half of it.", 30), Part("And the rest.", 10))
    segments = [Segment(WINDOW, 0, parts), Segment(WINDOW, 1, parts[:1])]
    first, second = encoder.encode([part.text for part in parts])
    mean = 0.75 * first + 0.25 * second
    found = encoder.encode_segments(segments)
    np.testing.assert_allclose(found[0], mean / np.linalg.norm(mean), atol=2e-6)
    np.testing.assert_allclose(found[1], first, atol=2e-6)


def test_the_end_of_a_long_story_still_counts(encoder: Encoder) -> None:
    """A sentence encoder alone would drop it: what differs lies behind its 256 word pieces."""
    start = "Nothing happened on that day, as on the days before. " * 300
    cuts = encoder.segment([Situation("a", start + "I ate."), Situation("b", start + "I shot a man.")], 48, 16)
    one, other = (encoder.encode_segments(cut) for cut in cuts)
    assert np.abs(one[-2] - other[-2]).max() > 0.01, "the last window"
    assert np.abs(one[-1] - other[-1]).max() > 0.002, "the text whole, of which the end is one of 13 parts"


def test_too_little_memory_halves_the_batch_and_loses_nothing(
    encoder: Encoder, monkeypatch: pytest.MonkeyPatch
) -> None:
    import torch

    inner = encoder._model.encode
    sizes: list[int] = []

    def short_of_memory(texts: list[str], **options: object) -> object:
        sizes.append(len(texts))
        if len(texts) > 3:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return inner(texts, **options)

    texts = [f"{TEXTS[0]} That was in the year {year}." for year in range(2010, 2020)]
    expected = encoder.encode(texts)
    monkeypatch.setattr(encoder, "_pass_size", 8)
    monkeypatch.setattr(encoder._model, "encode", short_of_memory)
    np.testing.assert_allclose(encoder.encode(texts), expected, atol=2e-6)
    assert sizes == [8, 4, 2, 2, 2, 2, 2]


def test_host_memory_counts_too_and_a_single_text_that_does_not_fit_is_told(
    encoder: Encoder, monkeypatch: pytest.MonkeyPatch
) -> None:
    def short_of_memory(texts: list[str], **options: object) -> object:
        raise RuntimeError("[enforce fail at alloc_cpu.cpp] DefaultCPUAllocator: can't allocate memory")

    monkeypatch.setattr(encoder, "_pass_size", 4)
    monkeypatch.setattr(encoder._model, "encode", short_of_memory)
    with pytest.raises(OutOfMemory, match=r"out of memory with a single text .*what was embedded is stored") as found:
        encoder.encode(TEXTS)
    assert (found.value.memory, encoder._pass_size) == ("host", 1)


def test_short_texts_are_not_padded_to_long_ones(encoder: Encoder, monkeypatch: pytest.MonkeyPatch) -> None:
    inner = encoder._model.encode
    passes: list[list[int]] = []

    def watched(texts: list[str], **options: object) -> object:
        passes.append([len(text) for text in texts])
        return inner(texts, **options)

    texts = [f"Day {day}: " + "it rained. " * times for day in range(9) for times in (1, 2, 20)]
    monkeypatch.setattr(encoder._model, "encode", watched)
    encoder.encode(texts)
    assert sum(map(len, passes)) == len(texts)
    assert all(min(lengths) >= max(lengths) / 2 for lengths in passes)
    assert len(passes) < len(texts) / 3


def test_equal_texts_are_read_once_and_each_gets_its_vector(encoder: Encoder, monkeypatch: pytest.MonkeyPatch) -> None:
    expected = encoder.encode(TEXTS)
    seen: list[str] = []
    monkeypatch.setattr(encoder, "_model", WatchedNetwork(encoder._model, seen))
    found = encoder.encode([*TEXTS[3:], *TEXTS, *TEXTS[:2]])
    assert sorted(seen) == sorted(TEXTS)
    np.testing.assert_allclose(found, expected[[3, 4, 0, 1, 2, 3, 4, 0, 1]], atol=2e-6)


@pytest.mark.parametrize("sentences", [2, 200])
def test_the_whole_text_comes_last_and_is_the_mean_of_its_parts_at_unit_length(
    encoder: Encoder, sentences: int
) -> None:
    text = " ".join(f"On day {number} it rained, and I said nothing." for number in range(sentences))
    (cut,) = encoder.segment([Situation("a", text, title="Rain", action="saying nothing")], 48, 16)
    assert [segment.kind for segment in cut] == [TITLE, ACTION, *[WINDOW] * (len(cut) - 3), WHOLE]
    assert cut[-1].position == 0
    parts = cut[-1].parts
    assert " ".join(part.text for part in parts) == text
    pieces = np.array([len(offsets) for offsets in encoder.offsets([part.text for part in parts])])
    assert pieces.max() <= encoder.part_pieces and len(parts) == -(-pieces.sum() // encoder.part_pieces)
    mean = (pieces / pieces.sum()) @ encoder.encode([part.text for part in parts])
    np.testing.assert_allclose(encoder.encode_segments(cut)[-1], mean / np.linalg.norm(mean), atol=2e-6)


def test_the_name_with_and_without_publisher_and_the_path_are_one_model(source: ModelSource) -> None:
    assert find_model("sentence-transformers/all-MiniLM-L6-v2").fingerprint == source.fingerprint
    assert find_model(str(source.folder)).fingerprint == source.fingerprint


def test_the_fingerprint_follows_weights_and_tokenizer_but_not_notes(tmp_path: Path) -> None:
    def write(name: str, content: str) -> str:
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(content)
        return fingerprint_of(tmp_path)

    first = write("model.safetensors", "weights")
    assert write("tokenizer.json", "{}") != first
    settled = write("config.json", '{"hidden": 1, "transformers_version": "4.1"}')
    assert write("README.md", "notes") == settled
    assert write("config.json", '{"transformers_version": "5.0", "hidden": 1}') == settled
    assert write("config.json", '{"hidden": 2}') != settled
    pooled = write("1_Pooling/config.json", '{"mode": "mean"}')
    assert write("1_Pooling/config.json", '{"mode": "max"}') != pooled
    assert write("model.safetensors", "other weights") != pooled


def test_a_folder_or_file_that_is_no_model_is_refused(tmp_path: Path) -> None:
    with pytest.raises(MissingRequirement, match="without weights"):
        find_model(str(tmp_path))
    (tmp_path / "file").write_text("x")
    with pytest.raises(MissingRequirement, match="found a file"):
        find_model(str(tmp_path / "file"))
    with pytest.raises(MissingRequirement, match="no such folder"):
        find_model(str(tmp_path / "missing" / "model"))


def test_a_damaged_model_is_refused_by_name(tmp_path: Path, source: ModelSource) -> None:
    for path in source.folder.rglob("*"):
        if path.suffix == ".json" and path.name != "data_config.json":
            target = tmp_path / path.relative_to(source.folder)
            target.parent.mkdir(exist_ok=True)
            target.write_bytes(path.read_bytes())
    (tmp_path / "model.safetensors").write_bytes((source.folder / "model.safetensors").read_bytes()[:100_000])
    with pytest.raises(MissingRequirement, match="could not be loaded"):
        Encoder(find_model(str(tmp_path)), device="cpu")


@pytest.mark.parametrize(
    "surroundings",
    [{"HF_HUB_OFFLINE": "1"}, {"HF_ENDPOINT": "http://127.0.0.1:9"}, {"HF_ENDPOINT": "http://192.0.2.1"}],
    ids=["off-line by environment", "nobody listens", "packets are dropped"],
)
def test_a_model_that_is_not_there_fails_soon_and_says_what_to_do(tmp_path: Path, surroundings: dict[str, str]) -> None:
    program = (
        "from redheart.embedding.model_source import find_model\nfrom redheart.errors import MissingRequirement\n"
        "try: find_model('paraphrase-MiniLM-L3-v2')\n"
        "except MissingRequirement as error: print(error); raise SystemExit(error.exit_code)\n"
    )
    environment = {**os.environ, "HF_HOME": str(tmp_path), **surroundings}
    for name in ("http_proxy", "https_proxy", "HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "all_proxy"):
        environment.pop(name, None)
    begun = time.monotonic()
    done = subprocess.run([sys.executable, "-c", program], env=environment, capture_output=True, text=True, timeout=100)
    assert done.returncode == 3, done.stderr
    assert "pip install -e '.[offline]'" in done.stdout
    assert "embedding.model=/path/to/model" in done.stdout
    assert time.monotonic() - begun < 45


def test_a_batch_is_filled_to_the_brim_and_no_further() -> None:
    """Situations of two parts each, four parts to a batch; one with six parts is a batch of its own."""
    parts = [2, 2, 2, 6, 2]
    cuts = [
        [SimpleNamespace(parts=[SimpleNamespace(text=f"{i}-{j}") for j in range(count)])]
        for i, count in enumerate(parts)
    ]
    encoder: Any = SimpleNamespace(segment=lambda situations, *_: [cuts[index] for index in situations])
    config = SimpleNamespace(batch_size=4, window_word_pieces=40, max_segments=8)
    contents: Any = SimpleNamespace(situations=range(len(parts)), config=config)
    batches = [[index for index, _ in batch] for batch in missing._batches(contents, encoder, range(len(parts)))]
    assert batches == [[0, 1], [2], [3], [4]]
