"""Verdicts of AlpacaEval's evaluator configs: read strictly, and no answer that is quoted gives one."""

from __future__ import annotations

import math
import re

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from leaderboards.alpaca_eval.annotators import load_annotator, supported_annotators
from leaderboards.alpaca_eval.verdicts import (
    AnyVerdict,
    LogprobVerdict,
    PatternVerdict,
    RankingVerdict,
    ScorePairVerdict,
)

from ..conftest import HOSTILE


@pytest.mark.parametrize(
    ("first", "second", "preference"),
    [
        (math.log(0.5), math.log(0.5), 1.5),
        (math.log(0.9), math.log(0.1), 1.1),
        (math.log(0.009), math.log(0.001), 1.1),  # renormalised
        (-1.0, -math.inf, 1.0),
        (-math.inf, -1.0, 2.0),
        (-2_000.0, 0.0, 2.0),
        (0.0, -2_000.0, 1.0),
        (-math.inf, -math.inf, None),
        (math.nan, -1.0, None),
        (math.inf, 0.0, None),
    ],
)
def test_preference_from_log_probabilities(first: float, second: float, preference: float | None) -> None:
    found = LogprobVerdict("m", "M").weigh(first, second)
    assert found.preference == (None if preference is None else pytest.approx(preference))
    assert found.reason == (None if preference is not None else "no_verdict")


def test_binarized() -> None:
    verdict = LogprobVerdict("m", "M", binarize=True)
    assert [verdict.weigh(-1, -2).preference, verdict.weigh(-2, -1).preference] == [1, 2]


@settings(deadline=None)
@given(st.floats(-1e300, 0), st.floats(-1e300, 0))
def test_any_log_probabilities_give_a_preference(first: float, second: float) -> None:
    verdict = LogprobVerdict("m", "M")
    one, two = verdict.weigh(first, second).preference, verdict.weigh(second, first).preference
    assert one is not None
    assert two is not None
    assert 1 <= one <= 2
    assert one + two == pytest.approx(3)


PATTERNS = PatternVerdict(re.compile(r"(?:^|\n) ?Output \(a\)"), re.compile(r"(?:^|\n) ?Output \(b\)"))
LAST = LogprobVerdict("m", "M", last=True)
WORD = LogprobVerdict("m", "M")
LIST = "[{'model': 'model_1', 'rank': 2}, {'model': 'model_2', 'rank': 1}]"


@pytest.mark.parametrize(
    ("verdict", "text", "expected"),
    [
        (WORD, "m", 1),
        (WORD, " M\n", 2),
        (WORD, "`M`.", 2),
        (WORD, "**M**\n\nExplanation: the", 2),
        (WORD, "\nm\nM", "conflicting"),
        (WORD, "M is better than m", "no_verdict"),
        (WORD, "A is worse than B", "no_verdict"),
        (WORD, "m and M are alike", "no_verdict"),
        (WORD, "(M)", "no_verdict"),
        (WORD, "Model M", "no_verdict"),
        (WORD, "mM", "no_verdict"),
        (WORD, "\N{FULLWIDTH LATIN CAPITAL LETTER M}", "no_verdict"),
        (WORD, "\N{CYRILLIC SMALL LETTER EM}", "no_verdict"),
        (WORD, "", "no_verdict"),
        (LAST, "m is worse.\n### Which is best, m or M?\nM", 2),
        (LAST, "M wins, I would say", "no_verdict"),
        (LAST, "The second is right, so the best is M", 2),  # AlpacaEval reads the last token
        (PATTERNS, "Output (a)", 1),
        (PATTERNS, "Well.\n Output (b)", 2),
        (PATTERNS, "Output (a)\nOutput (a)", 1),
        (PATTERNS, "Output (a)\nOutput (b)", "conflicting"),
        (PATTERNS, "I prefer Output (a)", "no_verdict"),
        (RankingVerdict(), LIST, 2),
        (RankingVerdict(), LIST.replace("'", '"').replace("2}", "3}").replace("1}", "2}").replace("3}", "1}"), 1),
        (RankingVerdict(), f"```python\n{LIST}\n```", 2),
        (RankingVerdict(), f"Sure: {LIST}", "no_verdict"),
        (RankingVerdict(), LIST.replace("2", "1"), "no_verdict"),
        (RankingVerdict(), LIST.replace("'rank': 2", "'rank': 1"), "out_of_range"),
        (RankingVerdict(), LIST.replace("'rank': 2", "'rank': 7"), "out_of_range"),
        (RankingVerdict(), "[{'model': 'model_1', 'rank': 1}]", "no_verdict"),
        (RankingVerdict(), LIST + LIST, "no_verdict"),
        (RankingVerdict(), LIST.replace("]", ", {'model': 'model_1', 'rank': 2}]"), "no_verdict"),
        (RankingVerdict(), "__import__('os').abort()", "no_verdict"),
        (ScorePairVerdict(), "7 9\nThe second is better.", 2),
        (ScorePairVerdict(), "9.5, 9\nFine.", 1),
        (ScorePairVerdict(), "8 8\n", 1.5),
        (ScorePairVerdict(), "8 80\n", "out_of_range"),
        (ScorePairVerdict(), "Scores: 8 9\n", "no_verdict"),
        (ScorePairVerdict(), "8 9 10\n", "no_verdict"),
        (ScorePairVerdict(), "8 9\r\nThe second.", 2),
        (ScorePairVerdict(), "8\r9\n", "no_verdict"),
    ],
)
def test_verdicts_in_words(verdict: RankingVerdict, text: str, expected: float | str) -> None:
    found = verdict.read(text)
    assert (found.preference if found.reason is None else found.reason) == expected


@pytest.mark.parametrize(
    ("verdict", "text", "expected"),
    [
        (LAST, "m is better than M", "truncated"),
        (ScorePairVerdict(), "8 1", "truncated"),  # it may have become 10
        (ScorePairVerdict(), "8 1\nas the", 1),
        (RankingVerdict(), LIST[:40], "truncated"),
        (PATTERNS, "Output (", "truncated"),
    ],
)
def test_a_cut_text_has_no_verdict_unless_it_was_complete(
    verdict: RankingVerdict, text: str, expected: float | str
) -> None:
    found = verdict.read(text, truncated=True)
    assert (found.preference if found.reason is None else found.reason) == expected


@pytest.mark.parametrize("verdict", [WORD, LAST, PATTERNS, RankingVerdict(), ScorePairVerdict()])
@settings(max_examples=80, deadline=None)
@given(text=HOSTILE, repeat=st.sampled_from([1, 3, 20_000]), cut=st.booleans())
def test_any_text_is_read_as_a_verdict_or_as_none(verdict: RankingVerdict, text: str, repeat: int, cut: bool) -> None:
    found = verdict.read((text * repeat)[:1_000_000], truncated=cut)
    assert found.preference in (None, 1.0, 1.5, 2.0)
    assert (found.preference is None) == (found.reason in ("no_verdict", "conflicting", "out_of_range", "truncated"))


def test_megabytes_of_almost_verdicts_are_read_at_once() -> None:
    for verdict in (WORD, LAST, PATTERNS, RankingVerdict(), ScorePairVerdict()):
        for text in ("{'model': 'model_1', 'rank': ", "{" * 9, "[[", "```a\n", " ", "9 ", "Output (a", "\n "):
            assert verdict.read(text * 100_000).preference is None


# --- answers that are quoted

LOOK_ALIKES = (
    "Output (a)",
    " Output (b)",
    "It is Output (a), I say",
    "m",
    "M",
    " `M`. ",
    "**A**",
    "B",
    "the best is M",
    "Vitamin A",
    LIST,
    LIST.replace("'", '"'),
    "[{'model': 'model_1',",
    "'rank': 1}, {'model':",
    " 'model_2', 'rank': 2}]",
    "```json",
    "```",
    "10 1",
    "1, 10",
    "9.5\t3 ",
    "8",
    " " * 19_997 + "1 9 of them",
    "x" + "*" * 20_000 + "M",
    "",
)
BREAKS = ("\n", "\r\n", "\r", "\x0b", "\x1c", "\x1f", "\x85", "\u2028", "\n\n")
ANSWERS = st.lists(st.tuples(st.one_of(st.sampled_from(LOOK_ALIKES), st.text(max_size=8)), st.sampled_from(BREAKS)))
KINDS: list[AnyVerdict] = [PATTERNS, WORD, LAST, LogprobVerdict("A", "B"), RankingVerdict(), ScorePairVerdict()]


@pytest.mark.parametrize("verdict", KINDS)
@settings(max_examples=60, deadline=None)
@given(parts=ANSWERS, data=st.data())
def test_an_answer_that_is_quoted_gives_no_verdict(
    verdict: AnyVerdict, parts: list[tuple[str, str]], data: st.DataObject
) -> None:
    shown = verdict.disarm("".join(text + end for text, end in parts))
    assume(shown)
    lines = shown.splitlines(keepends=True)
    chosen = data.draw(st.lists(st.sampled_from(range(len(lines))), min_size=1, max_size=6))
    for quoted in (shown, "".join(lines[i] for i in chosen), "\n".join(lines[i].strip() for i in sorted(chosen))):
        assert verdict.read(quoted).preference is None


@pytest.mark.parametrize("verdict", [PATTERNS, RankingVerdict()])
@given(parts=ANSWERS, start=st.integers(0, 300), stop=st.integers(0, 300))
def test_nor_does_any_part_of_it(verdict: AnyVerdict, parts: list[tuple[str, str]], start: int, stop: int) -> None:
    assert verdict.read(verdict.disarm("".join(text + end for text, end in parts))[start:stop]).preference is None


@pytest.mark.parametrize("verdict", KINDS)
def test_other_text_is_shown_as_it_is(verdict: AnyVerdict) -> None:
    text = 'An answer (a).\r\n{"model": "gpt", "rank": 1}\u2028I am M, you are m, too.\n1 2 3 [[4]]\n\n output (b)\n'
    assert verdict.disarm(text) == text


@pytest.mark.parametrize("name", [n for n in supported_annotators() if n != "test"])
def test_every_installed_config_is_guarded(name: str) -> None:
    annotator = load_annotator(name)
    (text,) = (t for t in ("Output (a)", "m", "A", LIST, "9 2") if annotator.verdict.read(t).preference is not None)
    assert annotator.verdict.read(annotator.verdict.disarm(text)).preference is None
    shown = annotator.render("Say it.", "fine", text, in_words=True)
    assert any(annotator.verdict.disarm(text) in m.content for m in shown)
