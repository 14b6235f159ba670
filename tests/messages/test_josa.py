"""Particles fit what stands before them, whatever was filled in."""

from __future__ import annotations

import re
from collections.abc import Iterator

import pytest

from redheart.messages import language, set_language, text
from redheart.messages.catalog import catalogue
from redheart.messages.josa import PARTICLES, ending, fill_in, particle


@pytest.fixture(autouse=True)
def in_korean() -> Iterator[None]:
    before = language()
    set_language("ko")
    yield
    set_language(before)


@pytest.mark.parametrize(
    ("word", "said"),
    [
        ("손실", "손실은 손실이 손실을 손실과 손실로"),
        ("평균", "평균은 평균이 평균을 평균과 평균으로"),
        ("에포크", "에포크는 에포크가 에포크를 에포크와 에포크로"),
    ],
)
def test_a_korean_word_decides_by_its_last_syllable(word: str, said: str) -> None:
    assert " ".join(word + particle(word, marker) for marker in PARTICLES) == said


@pytest.mark.parametrize(
    ("number", "said"),
    [
        (0, "0은 0으로"),
        (1, "1은 1로"),
        (2, "2는 2로"),
        (3, "3은 3으로"),
        (4, "4는 4로"),
        (5, "5는 5로"),
        (6, "6은 6으로"),
        (7, "7은 7로"),
        (8, "8은 8로"),
        (9, "9는 9로"),
        (10, "10은 10으로"),
        (0.25, "0.25는 0.25로"),
        (5.6e-05, "5.6e-05는 5.6e-05로"),
        ("−0.0013", "−0.0013은 −0.0013으로"),
    ],
)
def test_numbers_are_read_in_korean(number: object, said: str) -> None:
    assert fill_in("{n}은(는) {n}(으)로", {"n": number}) == said


@pytest.mark.parametrize(
    ("word", "sound"),
    [
        ("LR", "rieul"),
        ("SURD", "vowel"),
        ("OOM", "consonant"),
        ("backbone", "consonant"),
        ("emotion", "consonant"),
        ("model", "rieul"),
        ("module", "rieul"),
        ("loss", "vowel"),
        ("judge", "vowel"),
        ("checkpoints/epoch_0002", "vowel"),
        ("out/candidates.json", "consonant"),
        ("out/plots/", "vowel"),
        ("30 %", "vowel"),
        ("손실(loss)", "rieul"),
        ("에포크 3 (점수 0.1)", "consonant"),
        ("「평균」", "consonant"),
        ("(평균)", "consonant"),
        ("", None),
        ("–", None),
    ],
)
def test_latin_letters_and_closing_brackets_are_read_sensibly(word: str, sound: str | None) -> None:
    assert ending(word) == sound


def test_where_the_sound_is_not_known_both_forms_stay() -> None:
    assert fill_in("{name}을(를)", {"name": "–"}) == "–을(를)"


def test_a_value_is_never_changed_and_formats_are_kept() -> None:
    values = {"path": "내 파일을(를) {x}", "n": 0.5}
    assert fill_in("{path!r}: {n:.2f}와(과) {{}}", values) == "'내 파일을(를) {x}': 0.50과 {}"


def test_messages_are_said_with_the_fitting_particle() -> None:
    assert "마지막 에포크와 가중치가" in text("report.identical", name="마지막 에포크")
    assert "평균과 가중치가" in text("report.identical", name="평균")
    assert "에포크 13을 택합니다" in text("sweet_spot.choice.last", epoch=13)
    assert "에포크 14를 택합니다" in text("sweet_spot.choice.last", epoch=14)


def test_the_tables_know_one_notation_and_no_particle_is_guessed_after_a_value() -> None:
    other = re.compile(r"는\(은\)|가\(이\)|를\(을\)|과\(와\)|로\(으로\)|으로\(로\)")
    guessed = re.compile(r"\}(은|는|이|가|을|를|과|와|으로|로)(?![가-힣(])")
    searched_for = {"sweep.adjusted", "sweep.spread"}  # the first is an interface as it stands; its twin reads alike
    wrong = [
        key
        for key, (korean, _) in catalogue().items()
        if other.search(korean) or (guessed.search(korean) and key not in searched_for)
    ]
    assert wrong == []
