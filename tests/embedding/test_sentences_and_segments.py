"""Stories are cut at sentences, nothing of them is lost, and the limits hold."""

from __future__ import annotations

import random

import pytest

from redheart.data import Situation
from redheart.embedding.encoder import Encoder
from redheart.embedding.segments import ACTION, TITLE, WHOLE, WINDOW
from redheart.embedding.sentences import split_sentences

CASES = [
    (["One sentence. ", "Another one! ", "A third?"]),
    (["Dr. Smith met Mrs. Jones at 5 p.m. in St. Mary's. ", "They left."]),
    (["We met at 5 p.m. ", "Then we left."]),
    (["I like e.g. apples, i.e. fruit, vs. nuts etc. and more. ", "Yes."]),
    (["J. K. Rowling wrote it. ", "It was I. ", "Truly."]),
    (["“Really?” he asked. ", "“Yes!” ", "She left."]),
    (['He said "stop." ', "I did not."]),
    (["Well... maybe not. ", "I waited… ", "Nobody came."]),
    (["It cost 3.50 at example.com today. ", "Fine."]),
    (["i never use capitals. ", "not once. ", "really! ", "never"]),
    (["A paragraph without an end\n\n", "Another paragraph\n\n\n", "and a third."]),
    (["My list:\n", "1. First of all\n", "2. Then this\n", "- and that"]),
    (["a line that was wrapped\nby an old program. ", "Next."]),
    (["No. ", "I said no. ", "See No. 5 on page pp. 3."]),
    (["거짓말을 했다. ", "후회한다. ", "정말로?"]),
    (["彼は言った。", "「行こう！」", "そして去った。"]),
    (["What?! ", "No way!!! ", "(Seriously.) ", "OK."]),
    (["   "]),
    (["...?"]),
]


@pytest.mark.parametrize("sentences", CASES, ids=lambda case: case[0][:30])
def test_sentences_end_where_a_reader_would_end_them(sentences: list[str]) -> None:
    text = "".join(sentences)
    assert [text[start:end] for start, end in split_sentences(text)] == sentences


def test_an_empty_text_has_no_sentences() -> None:
    assert split_sentences("") == []


def test_spans_cover_any_text_without_gaps() -> None:
    generator = random.Random(0)
    for _ in range(300):
        text = "".join(generator.choices(["a", "B", ".", "…", "!", '"', " ", "\n", "Mr", "1", "。", ")", "é"], k=40))
        spans = split_sentences(text)
        assert "".join(text[start:end] for start, end in spans) == text
        assert all(start < end for start, end in spans)


def words(texts: list[str]) -> list[str]:
    return " ".join(texts).split()


def long_text(sentences: int, words_each: int) -> str:
    return " ".join(
        " ".join(f"word{number}x{place}" for place in range(words_each)) + "." for number in range(sentences)
    )


def test_title_action_windows_and_whole_text_come_in_order_with_kinds_and_positions(encoder: Encoder) -> None:
    text = long_text(9, 5)
    (cut,) = encoder.segment([Situation("a", text, title="A title", action="an action")], 48, 16)
    assert [segment.kind for segment in cut] == [TITLE, ACTION, *[WINDOW] * (len(cut) - 3), WHOLE]
    assert [segment.position for segment in cut] == [0, 0, *range(len(cut) - 3), 0]
    assert cut[0].parts[0].text == "A title"
    assert [part.text for part in cut[-1].parts] == [text]
    windows = cut[2:-1]
    assert len(windows) > 1
    for segment in windows:
        (part,) = segment.parts
        assert part.pieces <= 48
        assert part.pieces == len(encoder.offsets([part.text])[0])
        assert part.text.endswith(".")  # whole sentences


def test_windows_take_as_many_sentences_as_fit(encoder: Encoder) -> None:
    text = " ".join(["It was so."] * 30)  # 4 pieces each: 12 fit into 48
    (cut,) = encoder.segment([Situation("a", text)], 48, 16)
    assert [segment.parts[0].pieces for segment in cut] == [48, 48, 24, 120]


def test_a_sentence_longer_than_a_window_is_cut_between_words(encoder: Encoder) -> None:
    text = " ".join(f"word{number}" for number in range(100))
    (cut,) = encoder.segment([Situation("a", text)], 48, 16)
    windows = cut[:-1]
    assert len(windows) > 4
    assert all(segment.parts[0].pieces <= 48 for segment in windows)
    assert words([segment.parts[0].text for segment in windows]) == text.split()


def test_a_word_longer_than_a_window_is_cut_inside(encoder: Encoder) -> None:
    text = "xq" * 48  # under 100 characters, which the tokenizer still takes for a word
    (cut,) = encoder.segment([Situation("a", text)], 10, 16)
    assert len(cut) > 3
    assert "".join(segment.parts[0].text for segment in cut[:-1]) == text
    assert cut[-1].parts[0].text == text


@pytest.mark.parametrize(("sentences", "words_each"), [(40, 6), (200, 5), (1000, 3), (3, 800)])
def test_too_many_windows_are_merged_evenly_and_nothing_is_truncated(
    encoder: Encoder, sentences: int, words_each: int
) -> None:
    text = long_text(sentences, words_each)
    (cut,) = encoder.segment([Situation("a", text, title="t")], 48, 16)
    windows = [segment for segment in cut if segment.kind == WINDOW]
    assert 2 < len(windows) <= 13
    for parts in ([part for segment in windows for part in segment.parts], cut[-1].parts):
        assert all(len(encoder.offsets([part.text])[0]) <= encoder.part_pieces for part in parts)
        assert words([part.text for part in parts]) == text.split()
    sizes = [sum(part.pieces for part in segment.parts) for segment in windows]
    if len(windows) == 13:
        assert max(sizes) <= 2.1 * min(sizes)


@pytest.mark.parametrize("most", [4, 5, 16])
def test_with_title_and_action_there_are_never_more_segments_than_asked_for(encoder: Encoder, most: int) -> None:
    (cut,) = encoder.segment([Situation("a", long_text(200, 5), title="t", action="a")], 48, most)
    assert [segment.kind for segment in cut] == [TITLE, ACTION, *[WINDOW] * (most - 3), WHOLE]


def test_a_title_longer_than_the_encoder_reads_is_kept_in_parts(encoder: Encoder) -> None:
    title = " ".join(f"word{number}" for number in range(400))
    (cut,) = encoder.segment([Situation("a", "text", title=title)], 48, 16)
    assert len(cut[0].parts) > 2
    assert words([part.text for part in cut[0].parts]) == title.split()


@pytest.mark.parametrize("text", ["\u200b", "🙂", ".", "\x00", "a" * 5000, "é\u0301 " * 3])
def test_odd_texts_become_at_least_one_window(encoder: Encoder, text: str) -> None:
    (cut,) = encoder.segment([Situation("a", text)], 48, 16)
    assert len(cut) > 1
    assert [segment.kind for segment in cut] == [*[WINDOW] * (len(cut) - 1), WHOLE]
    vectors = encoder.encode_segments(cut)
    assert vectors.shape == (len(cut), 384)
    if len(cut) == 2:
        assert (vectors[0] == vectors[1]).all(), "the only window is the text whole"
