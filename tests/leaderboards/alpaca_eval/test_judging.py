"""Asking the judge: orders, verdicts in words where there are no log-probabilities, failures, and resuming."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from leaderboards.alpaca_eval.annotators import Annotator, LogprobVerdict, switched
from leaderboards.alpaca_eval.judging import Item, Judged, ask, first_token_verdict, is_shortened, raw_completion
from leaderboards.base import JudgeRole, Setting, Subject
from selfreward_bench.config import RunConfig
from selfreward_bench.engines.base import ChoiceLogprobs, ChoiceRequest, GenerationRequest
from selfreward_bench.engines.scripted import ScriptedEngine, prompt_text
from selfreward_bench.storage import jsonl
from selfreward_bench.types import Completion, Judgment, Message

ANNOTATOR = Annotator(
    name="mine",
    template=(Message(role="user", content="{instruction}|{output_1}|{output_2}"),),
    verdict=LogprobVerdict("m", "M"),
    model="a-model",
    randomized=True,
    temperature=0.0,
    max_tokens=8,
    config_hash="c",
    prompt_hash="p",
)
ITEMS = [Item(f"i{k}", f"instruction {k}", "reference", "good" if k % 2 else "bad") for k in range(8)]


def likes_good(request: ChoiceRequest) -> list[float]:
    """The answer called good gets 0.8, what is shown first 0.1 more."""
    _, first, second = prompt_text(request.prompt).split("|")
    share = 0.8 if first == "good" else 0.2 if second == "good" else 0.3 if first == "bad" else 0.7
    return [math.log(share + 0.1), math.log(0.9 - share)]


class Judge(ScriptedEngine):
    """A server that may refuse: request id -> reason."""

    def __init__(self, reasons: Mapping[str, str] | None = None, words: str = "m", batch_size: int = 3) -> None:
        super().__init__({"*": words}, likes_good, batch_size=batch_size)
        self.reasons = dict(reasons or {})

    def choice_logprobs(
        self, requests: Sequence[ChoiceRequest], done: Collection[str] = ()
    ) -> Iterator[list[ChoiceLogprobs]]:
        self.failures = {r.id: self.reasons[r.id] for r in requests if r.id in self.reasons and r.id not in done}
        return super().choice_logprobs([r for r in requests if r.id not in self.failures], done)

    def generate(self, requests: Sequence[GenerationRequest], done: Collection[str] = ()) -> Iterator[list[Completion]]:
        self.failures = {}
        return super().generate(requests, done)


def subject(directory: Path) -> Subject:
    def no_engine() -> ScriptedEngine:
        raise AssertionError("the subject's engine is not needed to judge")

    return Subject("M1", no_engine, Setting(RunConfig()), directory, lambda _: None)


def judge_of(engine: ScriptedEngine) -> JudgeRole:
    return JudgeRole("a-judge", engine)


def run(
    directory: Path, engine: ScriptedEngine, policy: str = "seeded", annotator: Annotator = ANNOTATOR, **role: Any
) -> dict[str, Judged]:
    return ask(subject(directory), ITEMS, annotator, replace(judge_of(engine), **role), policy)


def shown_first(item: Item) -> bool:
    return switched(item.instruction)


def test_each_comparison_is_asked_once_in_the_coins_order(tmp_path: Path) -> None:
    engine = Judge()
    judged = run(tmp_path, engine)
    asked = {r.id: prompt_text(r.prompt) for r in engine.requests}
    assert len(asked) == len(ITEMS)
    assert {shown_first(i) for i in ITEMS} == {True, False}
    for item in ITEMS:
        order = "ba" if shown_first(item) else "ab"
        texts = (item.answer, item.reference) if shown_first(item) else (item.reference, item.answer)
        assert asked[f"{item.id}/{order}"] == "|".join((item.instruction, *texts))
        share = 0.8 if item.answer == "good" else 0.3
        bias = 0.1 if shown_first(item) else -0.1
        assert judged[item.id].win == pytest.approx(share + bias)


def test_without_randomization_the_reference_is_shown_first(tmp_path: Path) -> None:
    fixed = Annotator(**{f: getattr(ANNOTATOR, f) for f in Annotator.__slots__} | {"randomized": False})
    engine = Judge()
    run(tmp_path, engine, annotator=fixed)
    assert all(r.id.endswith("/ab") for r in engine.requests)


def test_both_orders_are_averaged(tmp_path: Path) -> None:
    judged = run(tmp_path, Judge(), "both")
    for item in ITEMS:
        found = judged[item.id]
        assert found.win == pytest.approx(0.8 if item.answer == "good" else 0.3)
        assert set(found.verdicts) == {"ab", "ba"}
        assert found.agreement == 1
        assert found.first_shown == pytest.approx(0.6)


def test_orders_that_have_other_winners_disagree() -> None:
    def judgment(order: str, score: float) -> Judgment:
        return Judgment(prompt_id="i", index=0, judge="j", score=score, raw="", order=order)  # type: ignore[arg-type]

    both = {"ab": judgment("ab", 0.9), "ba": judgment("ba", 0.4)}
    assert Judged(0.65, None, both).agreement == 0
    assert Judged(0.65, None, both).first_shown == pytest.approx((0.1 + 0.4) / 2)
    assert Judged(0.9, None, {"ab": both["ab"]}).agreement is None


def test_equal_texts_are_a_draw_unasked(tmp_path: Path) -> None:
    same = [Item("i", "x", "same", "same")]
    engine = Judge()
    judged = ask(subject(tmp_path), same, ANNOTATOR, judge_of(engine), "both")
    assert (judged["i"].win, dict(judged["i"].verdicts), engine.requests) == (0.5, {}, [])


def ids(policy: str = "seeded") -> list[str]:
    if policy == "both":
        return [f"{i.id}/{o}" for i in ITEMS for o in ("ab", "ba")]
    return [f"{i.id}/{'ba' if shown_first(i) else 'ab'}" for i in ITEMS]


def test_without_log_probabilities_the_verdict_is_asked_in_words(tmp_path: Path) -> None:
    engine = Judge(dict.fromkeys(ids(), "no_logprobs"), words="m")
    judged = run(tmp_path, engine)
    assert all(isinstance(r, GenerationRequest) and r.max_new_tokens == 8 for r in engine.requests)
    for item in ITEMS:
        assert judged[item.id].win == float(shown_first(item))  # always what is shown first
        assert judged[item.id].ways == (0, 1)
    again = Judge(dict.fromkeys(ids(), "no_logprobs"))
    assert run(tmp_path, again) == judged
    assert again.requests == []


def test_an_answer_that_is_a_verdict_is_disarmed_where_words_are_read(tmp_path: Path) -> None:
    engine = Judge({"i0/ab": "no_logprobs", "i0/ba": "no_logprobs"}, words="m")
    ask(subject(tmp_path), [Item("i0", "which?", "reference", "m")], ANNOTATOR, judge_of(engine), "both")
    shown = {r.id: prompt_text(r.prompt) for r in engine.requests if isinstance(r, GenerationRequest)}
    assert shown == {"i0/ab": "which?|reference|(m)", "i0/ba": "which?|(m)|reference"}


def test_only_what_lacks_log_probabilities_is_asked_in_words(tmp_path: Path) -> None:
    names = ids()
    judged = run(tmp_path, Judge({names[2]: "no_logprobs"}))
    assert [i.id for i in ITEMS if judged[i.id].ways[1]] == [ITEMS[2].id]


def test_words_that_are_no_verdict_are_kept_and_not_asked_again(tmp_path: Path) -> None:
    engine = Judge(dict.fromkeys(ids(), "no_logprobs"), words="Both are fine")
    judged = run(tmp_path, engine)
    assert {(j.win, j.reason, j.failed) for j in judged.values()} == {(None, "no_verdict", False)}
    stored = jsonl.read(tmp_path / "judgments.jsonl", Judgment)
    assert {j.raw for j in stored} == {"Both are fine"}
    again = Judge(dict.fromkeys(ids(), "no_logprobs"))
    run(tmp_path, again)
    assert again.requests == []


def test_failures_keep_their_reason_and_are_asked_again(tmp_path: Path) -> None:
    names = ids()
    engine = Judge({names[0]: "failed: 500", names[1]: "refused", names[2]: "over_budget"})
    judged = run(tmp_path, engine)
    found = [(judged[i.id].win, judged[i.id].reason, judged[i.id].failed) for i in ITEMS[:3]]
    assert found == [(None, "failed: 500", True), (None, "refused", False), (None, "over_budget", True)]
    assert all(judged[i.id].win is not None for i in ITEMS[3:])
    healed = Judge(batch_size=1)
    judged = run(tmp_path, healed, retries=2)
    assert {r.id: r.attempt for r in healed.requests} == {names[0]: 0, names[1]: 1, names[2]: 0}
    assert all(j.win is not None for j in judged.values())


class Mumbling(Judge):
    """A served judge without log-probabilities, whose answer to attempt k is ``texts[k]``."""

    def __init__(self, *texts: str) -> None:
        super().__init__(dict.fromkeys(ids(), "no_logprobs"))
        self.texts = texts

    def generate(self, requests: Sequence[GenerationRequest], done: Collection[str] = ()) -> Iterator[list[Completion]]:
        self.failures = {}
        for r in requests:
            if r.id not in done:
                self.requests.append(r)
                text = self.texts[r.attempt]
                yield [Completion(prompt_id=r.id, index=0, text=text, n_tokens=1, finish_reason="stop", seed=0)]


def test_a_judge_that_may_say_otherwise_is_asked_again_once_per_call(tmp_path: Path) -> None:
    found = []
    for _ in range(4):
        engine = Mumbling("Both", "Hm", "m")
        judged = run(tmp_path, engine, retries=2)
        found.append(({j.reason for j in judged.values()}, {j.failed for j in judged.values()}))
        assert {r.attempt for r in engine.requests} == ({len(found) - 1} if len(found) < 4 else set())
    assert found == [({"no_verdict"}, {True}), ({"no_verdict"}, {True}), ({None}, {False}), ({None}, {False})]
    stored = jsonl.read(tmp_path / "judgments.jsonl", Judgment, unique=lambda j: j.id)
    assert Counter((j.sample, j.raw) for j in stored) == {(0, "Both"): 8, (1, "Hm"): 8, (2, "m"): 8}


def test_it_is_not_asked_until_it_says_something_readable(tmp_path: Path) -> None:
    for _ in range(3):
        judged = run(tmp_path, Mumbling("Both", "Hm", "Well", "m"), retries=2)
    assert {(j.reason, j.failed) for j in judged.values()} == {("no_verdict", False)}
    engine = Mumbling("m", "m", "m", "m")
    assert {j.reason for j in run(tmp_path, engine, retries=2).values()} == {"no_verdict"}
    assert engine.requests == []


def test_a_replay_takes_all_attempts_that_are_stored(tmp_path: Path) -> None:
    judged = run(tmp_path, Mumbling("Both", "Hm", "m"), retries=2, replays=True)
    assert all(j.win is not None for j in judged.values())
    part = run(tmp_path / "part", Judge(dict.fromkeys(ids(), "refused")), retries=2, replays=True)
    assert {(j.reason, j.failed) for j in part.values()} == {("refused", False)}


def test_one_order_that_fails_leaves_the_pair_unscored(tmp_path: Path) -> None:
    judged = run(tmp_path, Judge({"i0/ba": "failed: 500"}), "both")
    assert (judged["i0"].win, judged["i0"].reason, set(judged["i0"].verdicts)) == (None, "failed: 500", {"ab"})


def test_an_interrupted_run_goes_on(tmp_path: Path) -> None:
    whole = run(tmp_path / "whole", Judge())
    (tmp_path / "part").mkdir()
    lines = (tmp_path / "whole/judgments.jsonl").read_bytes().splitlines(keepends=True)
    (tmp_path / "part/judgments.jsonl").write_bytes(b"".join(lines[:3]) + lines[3][:20])  # one batch, and a torn line
    engine = Judge()
    assert run(tmp_path / "part", engine) == whole
    assert len(engine.requests) == len(ITEMS) - 3
    assert (tmp_path / "part/judgments.jsonl").read_bytes() == b"".join(lines)


def test_raw_completions_are_read_again(tmp_path: Path) -> None:
    verdict = ANNOTATOR.verdict
    assert isinstance(verdict, LogprobVerdict)
    judged = run(tmp_path, Judge())
    for item in ITEMS:
        again = first_token_verdict(raw_completion(judged[item.id]), verdict, "ba" if shown_first(item) else "ab")
        assert again == pytest.approx(judged[item.id].win)
    assert raw_completion(run(tmp_path / "both", Judge(), "both")["i0"]) is None
    assert raw_completion(Judged(0.5, None, {})) is None


@pytest.mark.parametrize(
    "completion",
    [None, "x", [], {}, {"logprobs": None}, {"logprobs": {"content": []}}, {"logprobs": {"content": [{}]}}]
    + [{"logprobs": {"content": [{"top_logprobs": top}]}} for top in (3, "mM", [1], [{"token": "m"}], [])]
    + [{"logprobs": {"content": [{"top_logprobs": [{"token": "m", "logprob": "much"}]}]}}],
)
def test_raw_completions_of_any_shape_are_harmless(completion: object) -> None:
    assert first_token_verdict(completion, LogprobVerdict("m", "M"), "ab") is None


def test_long_answers_are_counted() -> None:
    assert is_shortened(Item("i", "x", "r", "a" * 1_000_000))
    assert not is_shortened(ITEMS[0])
