"""Good datasets are read whole, whatever their form, and in bounded memory."""

from __future__ import annotations

import json
import logging
import tracemalloc
from pathlib import Path

import pytest

from redheart.data import iter_situations, read_dataset
from redheart.data.files.json_stream import Broken, Item, stream_items
from redheart.messages import LOGGER_NAME
from redheart.progress import Ticker

ITEMS = [
    {"id": "one", "text": 'She said "no". Then\nshe left – für immer 🙂.', "emotions": [0, 0, 0.01, 0, 0, 0, 1]},
    {
        "id": "two",
        "text": "t",
        "bentham_scores": {"intensity": 1, "purity": None},
        "surd_metrics": {},
        "note": {"a": [1]},
    },
    {"id": "three", "text": "t" * 300_000, "title": " ", "action": "", "label": None, "label_scores": {"INFO": 2.5}},
]


@pytest.mark.parametrize("name", ["data.json", "data.jsonl", "data"])
@pytest.mark.parametrize(
    ("before", "between", "after"),
    [
        ("[", ",", "]"),
        ("", "\n", ""),
        ("\n\n  [\n", " ,\n\t", "\n]\n"),
        ("\ufeff[", ",", "]"),
        ("\ufeff", "\r\n\r\n", "\r\n"),
    ],
)
def test_arrays_and_lines_are_told_apart_by_content(
    tmp_path: Path, name: str, before: str, between: str, after: str
) -> None:
    path = tmp_path / name
    path.write_text(before + between.join(json.dumps(one, ensure_ascii=False) for one in ITEMS) + after, newline="")
    found = read_dataset(path)
    assert [one.id for one in found] == ["one", "two", "three"]
    assert [one.text for one in found] == [one["text"] for one in ITEMS]
    assert [one.raw for one in found] == ITEMS
    assert found[0].emotions == (0, 0, 0.01, 0, 0, 0, 1)
    assert found[1].bentham_scores == {"intensity": 1.0}
    assert found[2].title is None
    assert found[2].action is None
    assert found[2].label_scores == {"INFO": 2.5}


def test_emotions_by_name_are_put_in_their_order(tmp_path: Path) -> None:
    named = {"anger": 0.7, "disgust": 0, "sadness": 0, "surprise": 0, "fear": 0, "trust": 0.1, "joy": 0.2}
    path = tmp_path / "data.json"
    path.write_text(json.dumps([{"id": "a", "text": "t", "emotions": named}]))
    assert read_dataset(path)[0].emotions == (0.2, 0.1, 0, 0, 0, 0, 0.7)


@pytest.mark.parametrize("chunk", [1, 2, 3, 7, 64])
def test_items_are_the_same_wherever_the_file_is_cut_into_chunks(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, chunk: int
) -> None:
    items = [
        {"i": 'é🙂\\"\n', "n": -1.5e-3, "t": [True, False, None, {}, [], "\u2028"], "🙂": 12345},
        {"x": -7},
        {"id": 12},
    ]
    monkeypatch.setattr("redheart.data.files.text_window._CHUNK", chunk)
    for content in (
        json.dumps(items),
        json.dumps(items, ensure_ascii=False),
        "\n".join(map(json.dumps, items)),
        json.dumps(items, indent=1),
        json.dumps([1234567, 89, True, -0.5]),
    ):
        path = tmp_path / "data.json"
        path.write_text(content)
        found = list(stream_items(path))
        assert not [one for one in found if isinstance(one, Broken)]
        values = [one.value for one in found if isinstance(one, Item)]
        assert values == (items if "{" in content else [1234567, 89, True, -0.5])


def test_memory_is_bounded_by_the_largest_item_not_by_the_file(tmp_path: Path) -> None:
    path = tmp_path / "data.json"
    with open(path, "w") as out:
        out.write("[")
        for number in range(4000):
            out.write("," if number else "")
            out.write(json.dumps({"id": str(number), "text": "ein Satz. " * 1000}))
        out.write("]")
    size = path.stat().st_size
    tracemalloc.start()
    count = sum(1 for _ in iter_situations(path))
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert count == 4000
    assert size > 40_000_000
    assert peak < 4_000_000


def test_a_syntax_error_does_not_make_the_reader_swallow_the_rest_of_a_large_file(tmp_path: Path) -> None:
    path = tmp_path / "data.json"
    path.write_text(
        '[{"id": "a", "text" "t"},' + ",".join(json.dumps({"id": str(n), "text": "t" * 9999}) for n in range(2000))
    )
    tracemalloc.start()
    (found,) = stream_items(path)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert isinstance(found, Broken)
    assert "line 1 column 21" in found.found
    assert peak < 4_000_000


def test_a_label_against_the_votes_is_a_warning_and_not_a_refusal(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path = tmp_path / "data.json"
    items = [
        {"id": "tied", "text": "a", "label": "AUTHOR", "label_scores": {"AUTHOR": 2, "OTHER": 2}},
        {"id": "against", "text": "b", "label": "INFO", "label_scores": {"AUTHOR": 2}},
    ]
    path.write_text(json.dumps(items))
    logging.getLogger(LOGGER_NAME).propagate = True
    with caplog.at_level(logging.WARNING, LOGGER_NAME):
        assert len(read_dataset(path)) == 2
    (message,) = {record.getMessage() for record in caplog.records}
    assert "against" in message
    assert "tied" not in message


def test_vectors_written_as_lists_become_one_array_and_are_not_held_twice(tmp_path: Path) -> None:
    path = tmp_path / "data.json"
    path.write_text(
        json.dumps(
            [{"id": "a", "text": "t", "embedding": [1, 2.5]}, {"id": "b", "text": "t", "embedding": [[1, 2]] * 3}]
        )
    )
    flat, several = read_dataset(path)
    assert flat.embedding is not None and flat.embedding.tolist() == [[1, 2.5]]
    assert several.embedding is not None and several.embedding.shape == (3, 2)
    assert "embedding" not in flat.raw


def test_how_far_a_long_file_is_read_is_said(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = [0.0]
    ticker = Ticker(lambda: now[0], has_thread=False)
    monkeypatch.setattr("redheart.progress._ticker", ticker)
    monkeypatch.setattr(logging.getLogger(LOGGER_NAME), "propagate", True)
    caplog.set_level(logging.INFO, LOGGER_NAME)
    path = tmp_path / "long.jsonl"
    path.write_text("".join(json.dumps({"id": str(number), "text": "t" * 30_000}) + "\n" for number in range(100)))

    def a_minute_passes(block: bytes) -> None:
        now[0] += 50.0
        ticker.tick()

    assert len(read_dataset(path, on_bytes=a_minute_passes)) == 100
    lines = [record.getMessage() for record in caplog.records]
    assert lines and all(line.startswith("⏳ 데이터 읽기 (long.jsonl): ") and "/3 MB (" in line for line in lines)


def test_the_datasets_of_the_earlier_implementation_and_of_the_votes_are_read(real_data: Path) -> None:
    assert len(read_dataset(real_data / "original_run" / "test_training_data.json")) == 3
    found = read_dataset(real_data / "situations.json")
    assert len(found) == 768
    assert all(
        one.emotions and one.label_scores and one.bentham_scores and len(one.bentham_scores) == 7 for one in found
    )
