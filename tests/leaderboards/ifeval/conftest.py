"""Prompts of all 25 kinds, and answers whose verdicts follow from the text by hand."""

from __future__ import annotations

from typing import Final, NamedTuple

from leaderboards.ifeval.files import Task


class Case(NamedTuple):
    """An instruction, an answer that follows it, and one that does not even loosely."""

    instruction: str
    kwargs: dict[str, object]
    follows: str
    fails: str


CASES: Final = (
    Case("keywords:existence", {"keywords": ["correlated", "rock"]}, "A Rock is correlated.", "Rocks correlate."),
    Case("keywords:frequency", {"keyword": "rock", "frequency": 2, "relation": "at least"}, "rock, rock", "rock"),
    Case("keywords:forbidden_words", {"forbidden_words": ["rock"]}, "Rocks and stones.", "A rock."),
    Case(
        "keywords:letter_frequency",
        {"letter": "q", "let_frequency": 3, "let_relation": "less than"},
        "Quit the queue.",
        "Quit the quiet queue.",
    ),
    Case(
        "language:response_language",
        {"language": "de"},
        "Das Wetter ist heute schön, und wir gehen mit den Kindern in den Garten.",
        "The weather is fine today, and we are going into the garden with the children.",
    ),
    Case(
        "length_constraints:number_sentences",
        {"num_sentences": 3, "relation": "less than"},
        "Dr. Smith went to the U.S. market at 5 p.m. on Monday. He came back.",  # two, four abbreviations
        "One is here. Two is here. Three is here.\nFour is here. Five is here. Six is here.\nSeven. Eight. Nine.",
    ),
    Case("length_constraints:number_paragraphs", {"num_paragraphs": 2}, "One.\n***\nTwo.", "One.\n\nTwo."),
    Case("length_constraints:number_words", {"num_words": 3, "relation": "at least"}, "One two-three.", "One two."),
    Case(
        "length_constraints:nth_paragraph_first_word",
        {"num_paragraphs": 2, "nth_paragraph": 2, "first_word": "weekend"},
        "One.\n\nWeekend, at last.",
        "One.\n\nA weekend.",
    ),
    Case("detectable_content:number_placeholders", {"num_placeholders": 2}, "[name], [address]", "[name]"),
    Case("detectable_content:postscript", {"postscript_marker": "P.S."}, "Hi.\nP.S. Bye.", "Hi. Bye."),
    Case("detectable_format:number_bullet_lists", {"num_bullets": 2}, "* One\n* Two", "- One"),
    Case("detectable_format:constrained_response", {}, "My answer is maybe.", "Maybe."),
    Case("detectable_format:number_highlighted_sections", {"num_highlights": 2}, "*One* and *two*", "*One* and two"),
    Case(
        "detectable_format:multiple_sections",
        {"section_spliter": "Section", "num_sections": 2},
        "Section 1\nOne\nSection 2\nTwo",
        "Section 1\nOne",
    ),
    Case("detectable_format:json_format", {}, '```json\n{"a": [1, 2]}\n```', "{a: [1, 2]}"),
    Case("detectable_format:title", {}, "<<Joy>>\nA poem.", "<Joy>\nA poem."),
    Case("combination:two_responses", {}, "One.\n******\nTwo.", "One.\n***\nTwo."),
    Case("combination:repeat_prompt", {"prompt_to_repeat": "Say hi."}, "Say hi.\nHi!", "Hi!"),
    Case("startend:end_checker", {"end_phrase": "Any questions?"}, "That is all. Any questions?", "Any questions? No."),
    Case(
        "change_case:capital_word_frequency",
        {"capital_relation": "at least", "capital_frequency": 2},
        "STOP at once, NOW.",
        "STOP at once, now.",
    ),
    Case("change_case:english_capital", {}, "THE WEATHER IS FINE TODAY, AND WE GO OUT.", "The weather is fine today."),
    Case(
        "change_case:english_lowercase", {}, "the weather is fine today, and we go out.", "The weather is fine today."
    ),
    Case("punctuation:no_comma", {}, "One and two.", "One, two."),
    Case("startend:quotation", {}, '"One."', 'He said "One."'),
)


def task(*cases: Case, key: int = 1) -> Task:
    """A prompt that demands all of them."""
    return Task(
        key=key,
        prompt=f"Prompt {key}.",
        instruction_id_list=tuple(c.instruction for c in cases),
        kwargs=tuple(c.kwargs for c in cases),  # type: ignore[arg-type]  # JSON, all of it
    )


def case(name: str) -> Case:
    """The case of an instruction."""
    return next(c for c in CASES if c.instruction.endswith(f":{name}"))
