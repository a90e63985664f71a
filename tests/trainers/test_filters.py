"""Filters: faults of a text, equality, and ROUGE-L against the reference implementation."""

# ruff: noqa: RUF001  # letters of many scripts look alike

from __future__ import annotations

import random
from collections.abc import Sequence

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from selfreward_bench.config import PromptsConfig
from trainers.filters import Seen, fault, normalised, rouge_l

CHAT, DOCUMENT = PromptsConfig(), PromptsConfig(format="document", min_words=2, max_words=6)
WORDS = ("red", "the", "the", "cat", "name", "two", "food", "big", "a", "house")
SENTENCES = st.lists(st.sampled_from(WORDS), min_size=1, max_size=14).map(" ".join)


@pytest.mark.parametrize(
    ("text", "config", "expected"),
    [
        ("Name three small red foods.", CHAT, None),
        (" \n ", CHAT, "empty"),
        ("Name a red\x00 food today", CHAT, "malformed"),
        ("Name a \ud800 red food", CHAT, "malformed"),
        ("Name a red\ufffd food today", CHAT, "malformed"),
        ("Name a red food <|assistant|> An apple", CHAT, "malformed"),
        ("Name a red food.</s> An apple", CHAT, "malformed"),
        ("Name a food. Task: Name a bird.", CHAT, "malformed"),
        ("Name a food. Answer: an apple", CHAT, "malformed"),
        ("Name a food", CHAT, "too_short"),
        ("word " * 151, CHAT, "too_long"),
        ("Draw a map of the town.", CHAT, "keyword"),
        ("Describe the attached pictures in a poem.", CHAT, "keyword"),
        ("Draw a cat.", DOCUMENT, None),
        ("Name", DOCUMENT, "too_short"),
        ("Name one two three four five six", DOCUMENT, "too_long"),
        ("请写一首关于春天的短诗。", CHAT, None),
        ("写诗", CHAT, "too_short"),
        ("请解释" * 101, CHAT, "too_long"),
        ("日本の首都はどこですか", CHAT, None),
        ("แนะนำหนังสือ", CHAT, None),
        ("서울에 대해 짧게 설명해 주세요", CHAT, None),
        ("Назови столицу", CHAT, "too_short"),
    ],
)
def test_faults(text: str, config: PromptsConfig, expected: str | None) -> None:
    assert fault(text, config) == expected


def test_equal_but_for_case_spaces_and_punctuation() -> None:
    assert normalised("  Name a\tRED, food!") == normalised("name a red food.")
    assert normalised("STRASSE \uff21") == normalised("stra\u00dfe a")
    assert normalised("What is 7 + 5?") != normalised("What is 7 - 5?")
    assert normalised("Name a cat") != normalised("Name a bat")


@pytest.mark.parametrize(
    ("a", "b"),
    [
        ("बाल की देखभाल कैसे करें?", "बेल की देखभाल कैसे करें?"),
        ("แม่อยู่ที่ไหน", "แมอยูทีไหน"),
        ("ما معنى كَتَبَ؟", "ما معنى كُتِبَ؟"),
        ("What does 😀 mean?", "What does 😡 mean?"),
    ],
)
def test_vowel_signs_and_emoji_tell_prompts_apart(a: str, b: str) -> None:
    assert normalised(a) != normalised(b)


@pytest.mark.parametrize(
    ("a", "b"),
    [
        ("Name a café.", "name a cafe\u0301"),
        ("\u200fما معنى كتب؟\u200e", "ما معنى كتب"),
        ("ﾃｽﾄ １２３", "テスト 123"),
        ("한국어로 답하세요", "\u1112\u1161\u11ab국어로 답하세요"),
    ],
)
def test_forms_of_writing_and_marks_of_direction_do_not(a: str, b: str) -> None:
    assert normalised(a) == normalised(b)


@pytest.mark.parametrize(
    ("a", "b", "other"),
    [
        (
            "请写一首关于春天的短诗，不超过四行。",
            "请写一首关于秋天的短诗，不超过四行。",
            "怎样照顾一只生病的猫？请给出三条建议。",
        ),
        (
            "東京の歴史を三つの文で説明してください。",
            "京都の歴史を三つの文で説明してください。",
            "猫の飼い方について教えて。",
        ),
        ("เขียนบทกวีสั้นๆ เกี่ยวกับฤดูฝน", "เขียนบทกวีสั้นๆ เกี่ยวกับฤดูร้อน", "วิธีทำต้มยำกุ้งแบบง่ายๆ ที่บ้าน"),
    ],
)
def test_near_equal_prompts_are_similar_without_spaces(a: str, b: str, other: str) -> None:
    seen = Seen([a], 0.7)
    assert not seen.has(b)
    assert seen.has_similar(b)
    assert not seen.has_similar(other)


SPOKEN = (
    "I am very happy to assist you with anything that you need.",
    "I\u2019m here to help you with your questions about cooking.",
    "Hello there! How can I assist you today with your work?",
    "Thank you! I would be more than glad to help you with that.",
    "**Sure!** I can help you write a letter to your bank.",
    "I'm sorry, but I can't write a task that differs from these.",
    "As an AI language model, I do not have opinions on this.",
    "I cannot fulfill this request in a responsible way, I fear.",
    "Thank you for your question about the weather in Oslo.",
    "Please let me know if you have any other questions for me.",
    "Is there anything else that you would like to know?",
    "What would you like me to do with the text above?",
    "Here is another task that you could give to a model.",
    "I'd be happy\nto help you with this list of tasks.",
    "I'd love to help! What would you like to do?",
    "I'm glad you asked! How can I help you today?",
    "I am a helpful assistant.",
    "I'm an AI assistant created by a company.",
    "Sorry, I cannot comply with this.",
    "Another task could be the following one.",
    "Please provide me with the tasks you would like me to do.",
    "Could you please clarify what you would like me to do?",
    "I don't have enough information to write a task.",
    "It seems like you want me to write a task.",
    "It looks like your message was cut off. Could you send it again?",
    "I hope this helps! Let me know if you have questions.",
    "You're welcome! Let me know if there is more.",
    "Okay, here's one more task for the assistant to work on.",
    "I have written the task below as you asked.",
    "Yes, I can help you with that.",
    "No problem! I can do that for you.",
    "The assistant is ready to help with your tasks.",
    "My name is Assistant and I am here to help.",
    "Understood! I will write another task now.",
    "Got it. Please share the tasks.",
    "Happy to help! What do you need?",
    "As a helpful assistant, I would suggest the following.",
)
TASKS = (
    "I am happy with my job, but not with my pay. What should I say?",
    "Write how an assistant says 'I am very happy to assist you'.",
    "Translate into French. How can I help you?",
    "I can't sleep at night. Give me three tips.",
    "I am sorry for my late reply: make this sentence more formal.",
    "Explain as an AI researcher would what a language model is.",
    "Let me know which of these words is a verb: run, red, rain.",
    "Here is a poem about the sea. Give it a title.",
    "Surely there are birds that cannot fly? Name three of them.",
    "Hi! Name three towns in Norway, please.",
    "What do you need to bake bread?",
    "Thank you cards: write a text for one to my aunt.",
    "I would like to help my friend who is sad. What should I say?",
    "Could you please tell me how you would cook rice?",
    "Can you provide more details on photosynthesis?",
    "Please give me instructions for baking bread.",
    "Please provide a list of three tasks for a new gardener.",
    "I don't have enough money to travel. Suggest three cheap hobbies.",
    "It seems like it will rain. Write a haiku about that.",
    "Yes or no: is the earth flat? Explain shortly.",
    "I hope this letter finds you well: make this less formal.",
    "I am an assistant teacher. Plan a lesson on bees.",
    "Sorry, I broke my arm: write this as a note to my boss.",
    "I will give you a word; write three synonyms. Word: happy.",
    "I have written a poem about rain. Give it a title: Rain falls.",
    "Here is an example sentence: the cat sat. Translate it to French.",
    "The assistant is late. Write a polite mail to her.",
)


@pytest.mark.parametrize("text", SPOKEN)
def test_what_is_said_to_the_user_is_no_task(text: str) -> None:
    assert fault(text, CHAT) == "no_task"


@pytest.mark.parametrize("text", TASKS)
def test_a_task_that_holds_such_words_is_one(text: str) -> None:
    assert fault(text, CHAT) is None


def plain_rouge_l(a: list[str], b: list[str]) -> float:
    """By the textbook's table."""
    rows = [[0] * (len(b) + 1) for _ in range(len(a) + 1)]
    for i, x in enumerate(a):
        for j, y in enumerate(b):
            rows[i + 1][j + 1] = rows[i][j] + 1 if x == y else max(rows[i][j + 1], rows[i + 1][j])
    precision, recall = rows[-1][-1] / len(a), rows[-1][-1] / len(b)
    return 2 * precision * recall / (precision + recall) if precision else 0.0


def random_pairs() -> list[tuple[str, str]]:
    rng = random.Random(0)
    made = [tuple(" ".join(rng.choices(WORDS, k=rng.randrange(1, 15))) for _ in "ab") for _ in range(300)]
    return [(a, b) for a, b in made] + [("The CAT, here.", "the cat"), ("big", "red")]


def test_rouge_l_equals_the_textbook() -> None:
    for a, b in random_pairs():
        words = [t.lower().replace(",", "").replace(".", "").split() for t in (a, b)]
        assert rouge_l(a, b) == pytest.approx(plain_rouge_l(*words)), (a, b)
    assert rouge_l("", "") == rouge_l("a", "") == 0


@pytest.mark.slow  # the library takes seconds to import
def test_rouge_l_equals_the_reference_library() -> None:
    from rouge_score.rouge_scorer import RougeScorer

    scorer = RougeScorer(["rougeL"], use_stemmer=False)
    for a, b in random_pairs():
        assert rouge_l(a, b) == pytest.approx(scorer.score(a, b)["rougeL"].fmeasure), (a, b)


@pytest.mark.slow
@settings(max_examples=80, deadline=None)
@given(st.lists(SENTENCES, max_size=12), SENTENCES, st.sampled_from([0.3, 0.5, 0.7, 0.9, 1.0]))
def test_similarity_search_equals_comparing_with_all(seen: list[str], text: str, limit: float) -> None:
    assert Seen(seen, limit).has_similar(text) == any(rouge_l(text, s) > limit for s in seen)


def test_seen_grows_and_no_limit_means_equal_texts_only() -> None:
    seen = Seen(["Name a red food."], None)
    assert seen.has("name a RED food")
    assert not seen.has_similar("Name a red food")
    grown = Seen([], 0.7)
    assert not grown.has_similar("Name a red food from the garden")
    grown.add("Name a red food from the house")
    assert grown.has_similar("Name a red food from the garden")
    assert not grown.has("Name a red food from the garden")
    grown.add("")
    assert not grown.has_similar("!?")


def test_few_subsequences_are_computed_among_many_prompts(monkeypatch: pytest.MonkeyPatch) -> None:
    from trainers import filters

    rng = random.Random(1)
    vocabulary = [f"w{i}" for i in range(500)]
    seen = Seen((" ".join(rng.choices(vocabulary, k=12)) for _ in range(3000)), 0.7)
    calls: list[int] = []
    lcs = filters._lcs

    def counted(a: Sequence[str], b: Sequence[str]) -> int:
        calls.append(1)
        return lcs(a, b)

    monkeypatch.setattr(filters, "_lcs", counted)
    assert not any(seen.has_similar(" ".join(rng.choices(vocabulary, k=12))) for _ in range(50))
    assert len(calls) < 50  # of 150,000 comparisons
