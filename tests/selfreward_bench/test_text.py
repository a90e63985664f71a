"""Words of many scripts; ASCII text has the words it always had."""

# ruff: noqa: RUF001  # letters of many scripts look alike

from __future__ import annotations

import re
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from selfreward_bench.text import count_words, folded, words

ASCII = st.text(st.characters(max_codepoint=127))


@given(ASCII)
def test_ascii_text_has_the_words_of_a_plain_expression(text: str) -> None:
    assert words(text) == re.findall(r"\w+", text.casefold())
    assert count_words(text) == len(text.split())
    assert folded(text) == text.casefold()


@given(ASCII)
def test_one_foreign_character_changes_no_other_word(text: str) -> None:
    assert words(text + " é") == [*words(text), "é"]
    assert count_words(text + " é") == count_words(text) + 1


def test_words_are_what_people_call_words() -> None:
    assert words("Don't stop: it's 3.5 km!") == ["don", "t", "stop", "it", "s", "3", "5", "km"]
    assert words(" .,- \n") == []


@pytest.mark.parametrize(
    ("text", "expected", "count"),
    [
        ("我爱猫 and cats", ["我", "爱", "猫", "and", "cats"], 4),
        ("用Python写代码。", ["用", "python", "写", "代", "码"], 3),
        ("東京タワーは１２０ｍ", ["東", "京", "タワー", "は", "120m"], 4),
        ("ﾃｽﾄ", ["テスト"], 1),
        ("ไม่ไป", ["ไ", "ม่", "ไ", "ป"], 2),
        ("ລາວ ភាសា မြန်", ["ລ", "າ", "ວ", "ភា", "សា", "မြ", "န်"], 4),
        ("བོད་ཡིག་གི་སྐོར", ["བོད", "ཡིག", "གི", "སྐོར"], 4),
        ("ሰላም፡ለዓለም፡ይሁን", ["ሰላም", "ለዓለም", "ይሁን"], 3),
        ("한국어로 시를 써 주세요", ["한국어로", "시를", "써", "주세요"], 4),
        ("हिन्दी में कविता", ["हिन्दी", "में", "कविता"], 3),
        ("كَتَبَ الوَلَدُ", ["كَتَبَ", "الوَلَدُ"], 2),
        ("\u202bשָׁלוֹם\u202c עולם\u200f", ["שָׁלוֹם", "עולם"], 2),
        ("می\u200cخواهم", ["میخواهم"], 1),
        ("Привет, мир_2!", ["привет", "мир_2"], 2),
        ("cafe\u0301 na\u00efve", ["café", "naïve"], 2),
        ("soft\u00adhyphen zero\u200bwidth", ["softhyphen", "zero", "width"], 2),
        ("👩\u200d🔬 in a lab ❤️", ["in", "a", "lab"], 5),
        ("葛\U000e0100飾", ["葛", "飾"], 1),
        ("\ud800 broken", ["broken"], 2),
    ],
)
def test_words_and_counts_of_many_scripts(text: str, expected: list[str], count: int) -> None:
    assert words(text) == expected
    assert count_words(text) == count


@pytest.mark.parametrize("text", ["请写一首关于春天的短诗", "日本の首都はどこです", "แนะนำหนังสือ", "ກະລຸນາແນະນຳ"])
def test_twelve_characters_are_four_words_at_least(text: str) -> None:
    assert count_words((text * 2)[:12]) >= 4


def test_punctuation_among_characters_is_no_word() -> None:
    assert count_words("写诗 ！ — 。") == 1


@pytest.mark.parametrize(
    "piece",
    ["\u0300", "\u0316\u0300", "a" + "\u0316\u0300" * 40, "\u0344\u0316", "\u034f\u0300\u0316", "\u200d\u0300\u0316",
     "好", "ก้", "हि", "\u1100\u1161", "\ufe0f", "a\u0323 "],
)  # fmt: skip
def test_a_megabyte_of_anything_takes_no_time(piece: str) -> None:
    text = (piece * (1_000_000 // len(piece.encode("utf-8")) + 1))[:1_000_000] + "é"
    started = time.perf_counter()
    words(text)
    count_words(text)
    assert time.perf_counter() - started < 20  # sorting these marks as one run takes minutes
