"""Samples of the page: joined by id and question, bounded, visible, packed below a budget."""

from __future__ import annotations

import json
import math
import zlib
from pathlib import Path
from typing import Any

import pytest

from reports import html, wording
from reports.samples import blobs, choosing
from reports.samples import collect as samples
from reports.samples import files as sample_files
from reports.samples.records import DISAGREEING, TRUNCATED, UNPARSED, SampleSet
from reports.sections.samples import build

from ..sample_run import SampleRun, alpaca, verdict

ALPACA, QUALITY, MT, NLP = "alpaca-eval@1", "micro-quality@1", "mt-bench@1", "nlp@1"


@pytest.fixture
def run(tmp_path: Path) -> SampleRun:
    return SampleRun(tmp_path / "demo")


def only(run: SampleRun) -> SampleSet:
    (found,), gaps = samples.collect([run.facts])
    assert gaps == []
    return found


# --- what is read


def test_samples_are_joined_by_id_and_not_by_position(run: SampleRun) -> None:
    run.scores("M1", ALPACA, [alpaca("a", 10.0, "A one."), alpaca("b", 90.0, "B one.")])
    run.scores("M2", ALPACA, [alpaca("b", 20.0, "B two."), alpaca("a", 80.0, "A two.")])
    found = only(run)
    assert found.checkpoints == ("M1", "M2")
    by_id = {s.id: s for s in found.samples}
    assert [by_id["a"].sides[k].answer for k in (0, 1)] == ["A one.", "A two."]
    assert by_id["a"].values(0, 1) == (10.0, 80.0)
    assert by_id["b"].category == "koala"
    assert by_id["b"].sides[0].beside == (("Reference", "The reference."),)


def test_whole_answers_come_from_the_stored_completions(run: SampleRun) -> None:
    run.scores("M1", ALPACA, [alpaca("a", 10.0, "The begin [... 30 characters]")])
    run.answers("M1", ALPACA, {"other": "no", "a": "The beginning, and all the rest …"})
    (sample,) = only(run).samples
    assert sample.sides[0].answer == "The beginning, and all the rest …"
    assert sample.sides[0].flags == TRUNCATED


def test_micro_quality_takes_prompts_from_the_embedded_world_and_answers_of_both_decodings(run: SampleRun) -> None:
    rows = [
        {"sample_id": f"{how}/test-0000/0", "value": 3.0, "cluster": "test-0000", "detail": {"measures": {metric: 3}}}
        for how, metric in (("sampled", "quality_sampled"), ("greedy", "quality_greedy"))
    ]
    run.scores("M1", QUALITY, rows)
    run.answers("M1", QUALITY, {"test-0000": "drawn"})
    run.answers("M1", QUALITY, {"test-0000": "greedy"}, "greedy.jsonl")
    found = only(run)
    assert [s.sides[0].answer for s in found.samples] == ["drawn", "greedy"]
    assert [s.metric for s in found.samples] == ["quality_sampled", "quality_greedy"]
    assert len(found.samples[0].sides[0].prompt) > 10


def test_flags_tell_what_was_truncated_unread_or_judged_two_ways(run: SampleRun) -> None:
    rows = [
        alpaca("cut", 50.0, "x", measures={"truncated": 1.0}),
        alpaca("unread", None, "x", judgments={"ab": "I cannot say."}),
        alpaca("torn", 50.0, "x", measures={"order_agreement": 0.0}, judgments={"ab": "m", "ba": "M"}),
    ]
    run.scores("M1", ALPACA, rows)
    sides = {s.id: s.sides[0] for s in only(run).samples}
    assert {i: s.flags for i, s in sides.items()} == {"cut": TRUNCATED, "unread": UNPARSED, "torn": DISAGREEING}
    assert sides["unread"].judged == (("Judge, reference shown first", "I cannot say."),)
    assert sides["unread"].reason == "no_verdict"
    assert [label for label, _ in sides["torn"].judged] == ["Judge, reference shown first", "Judge, answer shown first"]


def test_a_second_turn_shows_the_first_question(run: SampleRun) -> None:
    rows = [
        {
            "sample_id": f"q/{t}",
            "value": 7.0,
            "cluster": "q",
            "detail": {"measures": {"grade": 7.0}, "turn": t, "prompt": p},
        }
        for t, p in ((1, "First?"), (2, "And then?"))
    ]
    rows[1]["detail"]["judgment"] = "Good. [[7]]"  # type: ignore[index]
    run.scores("M1", MT, rows)
    second = only(run).samples[1].sides[0]
    assert second.prompt == "[Turn 1]\nFirst?\n\n[Turn 2]\nAnd then?"
    assert second.judged == (("Judge", "Good. [[7]]"),)


def test_nlp_shows_the_response_and_what_was_extracted(run: SampleRun) -> None:
    detail = {
        "measures": {"gsm8k": 0.0, "average": 0.0, "gsm8k/no_answer": 1.0},
        "task": "gsm8k",
        "prompt": "1 + 1?",
        "response": "It is two.",
        "answer": "[invalid]",
        "target": "2",
    }
    run.scores("M1", NLP, [{"sample_id": "gsm8k/h", "value": 0.0, "cluster": "h", "detail": detail}])
    (sample,) = only(run).samples
    side = sample.sides[0]
    assert (sample.metric, sample.category) == ("gsm8k", "gsm8k")
    assert side.answer == "It is two."
    assert side.judged == (("Extracted answer", "[invalid]"),)
    assert side.beside == (("Right answer", "2"),)
    assert side.flags == UNPARSED


def judged_pair(value: float, first: float, second: float) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = [
        {
            "sample_id": "pair/r/0-1",
            "value": value,
            "cluster": "r",
            "detail": {"measures": {"pairwise_accuracy": value}},
        },
        {"sample_id": "order/r", "value": 1.0, "cluster": "r", "detail": {"measures": {"spearman": 1.0}}},
    ]
    for k, score in enumerate((first, second)):
        detail = {
            "measures": {"mean_score": score},
            "prompt": "Ask.",
            "response": f"Response {k}.",
            "raw": [f"I say {score}."],
        }
        rows.append({"sample_id": f"response/r/{k}", "value": score, "cluster": "r", "detail": detail})
    return rows


@pytest.mark.parametrize(("value", "first", "second"), [(1.0, 2.0, 4.0), (0.0, 4.0, 2.0)])
def test_a_judged_pair_shows_both_responses_and_says_which_is_better(
    run: SampleRun, value: float, first: float, second: float
) -> None:
    run.scores("M1", "judge-accuracy-oasst@1", judged_pair(0.5, 3.0, 3.0))  # a tie tells nothing of what is better
    run.scores("M2", "judge-accuracy-oasst@1", judged_pair(value, first, second))
    (sample,) = only(run).samples
    assert sample.id == "pair/r/0-1"
    for side in sample.sides.values():
        assert side.beside == (
            ("Response 1, ranked lower", "Response 0."),
            ("Response 2, ranked higher", "Response 1."),
        )
        assert side.answer is None
    assert sample.sides[1].judged[0] == (f"Judge on response 1: {first:.3f}", f"I say {first}.")


def test_a_weighing_judge_is_told_in_words() -> None:
    raw = json.dumps({"probs": {"0": 0.25, "5": 0.75}, "mass": 0.99})
    assert sample_files.said(raw) == "Weighed grades 0: 25.0 %, 5: 75.0 %"
    assert sample_files.said('{"probs": broken') == '{"probs": broken'


@pytest.mark.parametrize(
    ("raw", "told"),
    [
        (
            {"justification": " Missing: 5.\n", "probs": {"0": 0.6, "1": 0.4}, "mass": 0.9},
            "Missing: 5.\nWeighed grades 0: 60.0 %, 1: 40.0 %",
        ),
        (
            {"justification": "Good.", "probs": {"0": 1.0}, "mass": 0.015},
            "Good.\nWeighed grades 0: 100.0 %\nOnly 1.5 % of the probability lay on grades.",
        ),
        ({"justification": "It goes on and"}, "It goes on and"),
        ({"justification": "Good.", "logprobs": ["-inf", "nan"]}, "Good."),
        ({"m": math.log(0.25), "M": math.log(0.75)}, "Weighed choices m: 25.0 %, M: 75.0 %"),
        ({"m": None, "M": -1e-9}, "Weighed choices m: 0.0 %, M: 100.0 %"),
    ],
)
def test_the_judges_words_are_text_and_not_json(raw: dict[str, Any], told: str) -> None:
    assert sample_files.said(json.dumps(raw)) == told


@pytest.mark.parametrize(
    "raw", ['{"score": 4}', '{"a": "b", "c": "d"}', '{"m": 2, "M": 3}', "[1]", "{", '{"x": {}}', "{}"]
)
def test_json_that_a_judge_wrote_itself_stays_as_it_is(raw: str) -> None:
    assert sample_files.said(raw) == raw


def test_other_questions_under_the_same_id_stand_apart(run: SampleRun) -> None:
    run.scores("M1", ALPACA, [alpaca("a", 10.0, "x")])
    run.scores("M2", ALPACA, [alpaca("a", 90.0, "y", prompt="Another question?")])
    (found,), gaps = samples.collect([run.facts])
    assert [(s.id, list(s.sides)) for s in found.samples] == [("a", [0]), ("a (2)", [1])]
    assert gaps == [
        f"{ALPACA}: checkpoints were asked different questions under the same id; they stand apart (1 ids)."
    ]


def test_head_to_head_has_both_orders_from_both_sides(run: SampleRun) -> None:
    for name, text in (("M1", "One."), ("M2", "Two.")):
        answers = {"p": text, "same": "Same.", "cut": f"{text} …"}
        run.answers(name, "head-to-head@1", answers)
    lines = [
        verdict("M2", "M1", "p", "ab", 0.9, "First it is."),
        verdict("M2", "M1", "p", "ba", 0.8, "Again the first."),
        verdict("M2", "M1", "same", "ab", 1.0, "Of answers given before."),
    ]
    run.tournament(("M1", "M2"), lines)
    found = only(run)
    by_id = {s.id: s for s in found.samples}
    assert by_id["p"].values(0, 1) == (pytest.approx(0.45), pytest.approx(0.55))  # 0.9 for M2 first, 0.8 for M1 first
    assert by_id["p"].values(1, 0) == (pytest.approx(0.55), pytest.approx(0.45))
    match = by_id["p"].matches[0, 1]
    assert match.flags == DISAGREEING
    assert match.judged == (
        ("Judge, M2 shown first: 90.0 % for it", "First it is."),
        ("Judge, M1 shown first: 80.0 % for it", "Again the first."),
    )
    assert by_id["same"].matches[0, 1].value == 0.5  # whatever was said of former answers
    assert by_id["cut"].matches[0, 1].reason == "answer truncated: M1 and M2"


def test_a_lost_verdict_leaves_a_match_unscored(run: SampleRun) -> None:
    run.answers("M1", "head-to-head@1", {"p": "One."})
    run.answers("M2", "head-to-head@1", {"p": "Two."})
    run.tournament(
        ("M1", "M2"), [verdict("M2", "M1", "p", "ab", 0.9, "A"), verdict("M2", "M1", "p", "ba", None, "Hm.")]
    )
    match = only(run).samples[0].matches[0, 1]
    assert (match.value, match.reason, match.flags) == (None, "no_verdict", UNPARSED)


def test_a_verdict_that_was_asked_for_again_takes_the_place_of_the_lost_one(run: SampleRun) -> None:
    for name, text in (("M1", "One."), ("M2", "Two.")):
        run.answers(name, "head-to-head@1", {"p": text})
    lines = [
        verdict("M2", "M1", "p", "ab", 0.9, "A"),
        verdict("M2", "M1", "p", "ba", 0.7, "B") | {"attempt": 1},
        verdict("M2", "M1", "p", "ba", None, "Hm.") | {"attempt": 0},
    ]
    run.tournament(("M1", "M2"), lines)
    match = only(run).samples[0].matches[0, 1]
    assert (match.value, match.flags) == (pytest.approx((0.1 + 0.7) / 2), DISAGREEING)
    assert [text for _, text in match.judged] == ["A", "B"]


def test_answers_that_differ_beyond_what_is_shown_are_no_tie(run: SampleRun) -> None:
    for name, end in (("M1", "One."), ("M2", "Two.")):
        run.answers(name, "head-to-head@1", {"p": "x" * 9_000 + end})
    run.tournament(("M1", "M2"), [verdict("M2", "M1", "p", order, 1.0, "Said.") for order in ("ab", "ba")])
    assert only(run).samples[0].matches[0, 1].value == 0.5
    assert [text for _, text in only(run).samples[0].matches[0, 1].judged] == ["Said.", "Said."]


def test_of_many_matches_only_the_texts_of_those_shown_are_read(
    run: SampleRun, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("reports.samples.choosing.MAX_SAMPLES", 2)
    read: list[str] = []
    conversation = sample_files.conversation
    monkeypatch.setattr(sample_files, "conversation", lambda v: read.append(v[0]["content"]) or conversation(v))
    for name, text in (("M1", "One."), ("M2", "Two.")):
        run.answers(name, "head-to-head@1", {f"p{i}": f"{text} {i}" for i in range(5)})
    wins = (0.5, 0.9, 0.5, 0.0, 0.6)  # of M2
    said = [verdict("M2", "M1", f"p{i}", "ab", won, f"Said of {i}.") for i, won in enumerate(wins)]
    run.tournament(("M1", "M2"), said)
    asked = [{"id": f"p{i}", "messages": [{"role": "user", "content": f"Question {i}?"}]} for i in range(5)]
    run.lines(run.path / "head-to-head" / "prompts.jsonl", asked)
    found = only(run)
    assert (found.total, [s.id for s in found.samples], [s.id for s in found.extremes]) == (
        5,
        ["p1", "p3"],
        ["p3", "p1"],
    )
    assert [(s.sides[0].prompt, s.sides[1].answer) for s in found.samples] == [
        ("Question 1?", "Two. 1"),
        ("Question 3?", "Two. 3"),
    ]
    assert [s.matches[0, 1].judged[0][1] for s in found.samples] == ["Said of 1.", "Said of 3."]
    assert {"Question 0?", "Question 2?", "Question 4?"}.isdisjoint(read)


def test_checkpoints_of_several_runs_are_told_apart(tmp_path: Path) -> None:
    runs = [SampleRun(tmp_path / name) for name in ("left", "right")]
    for run in runs:
        run.scores("M1", ALPACA, [alpaca("a", 10.0, run.path.name)])
    (found,), _ = samples.collect([r.facts for r in runs])
    assert found.checkpoints == ("left · M1", "right · M1")
    assert found.start == (1, 0)
    assert [s.answer for s in found.samples[0].sides.values()] == ["left", "right"]


# --- hostile and damaged files


def test_damaged_lines_are_gaps_and_the_rest_is_read(run: SampleRun) -> None:
    path = run.scores("M1", ALPACA, [alpaca("a", 10.0, "x")])
    good = path.read_bytes()
    broken = (
        b'{"sample_id": "\xff"}\n',
        b"[1]\n",
        b'{"sample_id": {}}\n',
        b"[" * 50_000 + b"\n",
        b'{"value": 1' + b"0" * 9_000,
    )
    path.write_bytes(good + b"".join(broken))
    nan = json.dumps(alpaca("nan", 1.0, "x")).replace('"value": 1.0', '"value": NaN').encode()
    path.write_bytes(path.read_bytes() + b"\n" + nan + b"\n")
    (found,), gaps = samples.collect([run.facts])
    assert [(s.id, s.sides[0].value) for s in found.samples] == [("a", 10.0), ("nan", None)]
    assert gaps == ["M1/eval/alpaca-eval@1/scores.jsonl: 4 lines are damaged and left out (the first: line 2)."]


def test_a_missing_file_is_a_gap(run: SampleRun) -> None:
    run.scores("M1", ALPACA, []).unlink()
    found, gaps = samples.collect([run.facts])
    assert found == []
    assert gaps == ["M1/eval/alpaca-eval@1: there is no scores.jsonl, so its samples cannot be shown."]
    section = build([run.facts])
    assert section is not None
    assert "there is no scores.jsonl" in section.body


def test_fields_of_any_shape_are_survived(run: SampleRun) -> None:
    shapes: list[Any] = [None, 1, 1e400, "x", [], [1], {}, {"a": [{}]}, True]
    rows = [
        {
            "sample_id": f"{k}",
            "value": s,
            "cluster": s,
            "reason": s,
            "detail": {"measures": s, "prompt": "p", "answer": s},
        }
        for k, s in enumerate(shapes)
    ]
    rows += [alpaca(f"d{k}", 1.0, "x", judgments=s, raw=s, reference=s, responses=s) for k, s in enumerate(shapes)]
    text = "".join(json.dumps(row) + "\n" for row in rows)
    for benchmark in (ALPACA, QUALITY, MT, NLP, "judge-accuracy-oasst@1", "other@1"):
        run.scores("M1", benchmark, []).write_text(text)
        run.lines(run.folder("M1", benchmark) / "answers.jsonl", [{"prompt_id": s, "text": s} for s in shapes])
    run.tournament(("M1", "M2"), [verdict(s, s, s, s, s, s) for s in shapes])
    run.lines(run.path / "M1" / "pairs.jsonl", [dict.fromkeys(("prompt", "chosen", "chosen_score"), s) for s in shapes])
    assert "Samples" in html.render([run.facts])


@pytest.mark.parametrize(
    "text", ["plain\n\ttext", "a\u202eb", "\x00\x1b", "caf\u00e9 \u2019", "Z" + "\u0301" * 9, "\ud800", "\u200b"]
)
def test_shown_text_is_what_wording_makes_visible(text: str) -> None:
    assert sample_files.shown(text) == wording.visible(text)


def test_a_megabyte_is_cut(run: SampleRun) -> None:
    run.scores("M1", ALPACA, [alpaca("a", 10.0, "y" * 1_000_000)])
    answer = only(run).samples[0].sides[0].answer
    assert answer is not None
    assert answer.endswith("[… 992,000 more characters]")
    assert len(answer) < 8_100


# --- what is packed


def packed(run: SampleRun, **arguments: Any) -> tuple[list[blobs.Packed], list[dict[str, Any]]]:
    found = blobs.pack(samples.collect([run.facts])[0], **arguments)
    return found, [json.loads(p.content) for p in found]


def test_every_text_is_packed_once(run: SampleRun) -> None:
    for name in ("M1", "M2"):
        run.scores(name, ALPACA, [alpaca("a", 10.0, "The same answer."), alpaca("b", 20.0, "The same answer.")])
    _, (blob,) = packed(run)
    assert sorted(blob["texts"]) == ["The reference.", "The same answer.", "What is a?", "What is b?"]


def test_the_guessed_size_is_near_the_true_one() -> None:
    words = [f"word{n * n % 7_919}" for n in range(400_000)]
    content = " ".join(words).encode()
    true = len(zlib.compress(content, 6))
    assert abs(blobs._guessed(content) - true) < 0.08 * true
    assert blobs._guessed(content[:1_000]) == len(zlib.compress(content[:1_000], 6))
    assert blobs._guessed(b"") == 0


def test_what_changed_least_is_shortened_first(run: SampleRun) -> None:
    rows = {"M1": 0.0, "M2": 1.0}
    for name, share in rows.items():
        texts = [f"{name} {k} " + " ".join(str((k * j) ** 2 % 7_919) for j in range(900)) for k in range(40)]
        run.scores(name, ALPACA, [alpaca(f"s{k:02d}", share * k, t) for k, t in enumerate(texts)])
    (whole,), _ = packed(run)
    budget = 60_000
    (found,), (blob,) = packed(run, budget=budget)
    assert whole.shortened == 0
    assert blobs._packed_size([found.content], 0) <= budget < blobs._packed_size([whole.content], 0)
    short = [row[0] for row in blob["samples"] if row[3]]
    assert 0 < found.shortened == len(short) < 40
    assert set(short) == {f"s{k:02d}" for k in range(len(short))}  # the change of s00 is 0, of s39 the largest
    (tiny,), (few,) = packed(run, budget=6_000)
    assert blobs._packed_size([tiny.content], 0) <= 6_000
    assert 0 < tiny.kept == len(few["samples"]) < tiny.total == 40


def test_of_too_many_samples_those_that_changed_most_are_kept(run: SampleRun, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(choosing, "MAX_SAMPLES", 3)
    for name, sign in (("M1", 0), ("M2", 1)):
        run.scores(name, ALPACA, [alpaca(f"s{k}", float(sign * k), "x") for k in range(9)])
    (found,), (blob,) = packed(run)
    assert [row[0] for row in blob["samples"]] == ["s6", "s7", "s8"]
    assert (found.kept, found.total) == (3, 9)
    section = build([run.facts])
    assert section is not None
    assert "Of AlpacaEval the 3 of 9 that changed most are here." in " ".join(section.body.split())


def test_a_run_without_evaluations_has_no_section(run: SampleRun) -> None:
    assert build([run.facts]) is None


def test_the_html_itself_shows_what_changed_most(run: SampleRun) -> None:
    run.scores(
        "M1", ALPACA, [alpaca("up", 0.0, "Bad start."), alpaca("down", 90.0, "Good start."), alpaca("still", 5.0, "x")]
    )
    run.scores(
        "M2",
        ALPACA,
        [alpaca("up", 100.0, "Good end."), alpaca("down", 20.0, "Bad <b>end</b>."), alpaca("still", 5.0, "x")],
    )
    section = build([run.facts])
    assert section is not None
    text = " ".join(section.body.split())
    assert text.index("Good start.") < text.index("Bad start.")  # the loss first
    assert "Win rate: M1 90.0 %, M2 20.0 %" in text
    assert "Bad &lt;b&gt;end&lt;/b&gt;." in text
    assert "What is still?" not in text
