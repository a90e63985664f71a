"""Head-to-head over several calls: who takes part, what is asked once, and who may judge."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from pathlib import Path

import pytest

from leaderboards import standings
from leaderboards.base import JudgeRole, Setting
from leaderboards.head_to_head.tournament import HeadToHead
from leaderboards.models import Model
from selfreward_bench.config import RunConfig
from selfreward_bench.engines.base import ChoiceLogprobs, ChoiceRequest, Engine, GenerationRequest
from selfreward_bench.engines.scripted import ScriptedEngine
from selfreward_bench.errors import ConfigError, DataError, EngineError
from selfreward_bench.storage import jsonl
from selfreward_bench.types import Completion, Prompt

N_PROMPTS = 24
ORACLE = JudgeRole("oracle")

Skilled = Callable[..., ScriptedEngine]


class Listener:
    """Keeps what a reporter is told."""

    def __init__(self) -> None:
        self.stages: dict[str, Mapping[str, float]] = {}
        self.totals: dict[str, int | None] = {}
        self.units = 0
        self.messages: list[str] = []

    def started(self, stage: str, total: int | None, unit: str) -> None:
        self.totals[stage] = total

    def advanced(self, amount: int = 1) -> None:
        self.units += amount

    def finished(self, stage: str, counts: Mapping[str, float], seconds: float, skipped: bool = False) -> None:
        self.stages[stage] = counts

    def message(self, text: str) -> None:
        self.messages.append(text)


@pytest.fixture
def said() -> Listener:
    return Listener()


def model(name: str, engine: ScriptedEngine) -> Model:
    return Model(name, f"weights of {name}", lambda: engine)


@pytest.fixture
def matches(world_files: Path, config: RunConfig, tmp_path: Path) -> HeadToHead:
    return HeadToHead(tmp_path / "run", Setting(config, judge=ORACLE))


@pytest.mark.slow
def test_all_pairs_of_those_who_answered(matches: HeadToHead, said: Listener, skilled: Skilled) -> None:
    for name, share in (("M2", 1.0), ("M0", 0.0)):
        matches.answer(model(name, skilled(share)), said)
    assert said.totals == {f"{n}/eval/head-to-head@1": N_PROMPTS for n in ("M2", "M0")}
    assert said.units == 2 * N_PROMPTS
    first = matches.hold(said)
    assert first is not None
    assert list(first.checkpoints) == ["M0", "M2"]
    (pair,) = first.pairs
    assert pair.n_scored == N_PROMPTS
    assert (pair.win_rate or 0) > 0.5 if pair.a == "M2" else (pair.win_rate or 0) < 0.5
    matches.answer(model("M1", skilled(0.5)), said)
    second = matches.hold(said)
    assert second is not None
    assert list(second.checkpoints) == ["M0", "M1", "M2"]
    assert len(second.pairs) == 3
    assert [p for p in second.pairs if {p.a, p.b} == {"M0", "M2"}] == [pair]
    assert standings.read_tournament(matches.root / "head-to-head") == second
    assert said.stages["head-to-head"] == {"pairs": 3}


def test_an_answer_is_asked_for_once(matches: HeadToHead, said: Listener, skilled: Skilled) -> None:
    engine = skilled(0.5)
    matches.answer(model("M1", engine), said)
    assert len(engine.requests) == N_PROMPTS
    path = matches.root / "M1/eval/head-to-head@1/answers.jsonl"
    kept = jsonl.read(path, Completion)
    jsonl.write(path, kept[:-3])
    matches.answer(model("M1", engine), said)
    assert {r.id for r in engine.requests[N_PROMPTS:]} >= {c.prompt_id for c in kept[-3:]}
    assert sorted(jsonl.read(path, Completion), key=lambda c: c.id) == sorted(kept, key=lambda c: c.id)
    idle = skilled(0.0)
    matches.answer(model("M1", idle), said)
    assert idle.requests == []


def test_one_alone_has_nobody_to_meet(matches: HeadToHead, said: Listener, skilled: Skilled) -> None:
    assert matches.hold(said) is None
    matches.answer(model("M1", skilled(0.5)), said)
    assert matches.hold(said) is None
    assert "needs two models" in said.messages[-1]
    assert not (matches.root / "head-to-head").exists()


class Spent(ScriptedEngine):
    """Answers to the first so many requests; then its budget is spent."""

    def __init__(self, affordable: int = 0) -> None:
        super().__init__({"*": "Yes."})
        self.affordable = affordable

    def generate(self, requests: Sequence[GenerationRequest], done: Collection[str] = ()) -> Iterator[list[Completion]]:
        self.failures = {r.id: "over_budget" for r in requests[self.affordable :]}
        yield from super().generate(requests[: self.affordable], done)

    def choice_logprobs(
        self, requests: Sequence[ChoiceRequest], done: Collection[str] = ()
    ) -> Iterator[list[ChoiceLogprobs]]:
        self.failures = {r.id: "over_budget" for r in requests}
        return iter(())


def test_who_has_no_answers_is_left_out_with_the_reason(matches: HeadToHead, said: Listener, skilled: Skilled) -> None:
    matches.answer(model("M1", Spent()), said)
    assert matches.hold(said) is None
    matches.answer(model("M2", skilled(0.5)), said)
    assert matches.hold(said) is None
    left_out = f"head-to-head: M1 has no answers (over_budget {N_PROMPTS}) and is left out."
    assert [m.startswith(left_out) for m in said.messages] == [True, False, True, False]
    assert said.messages[1].endswith("needs two models with answers; none has.")
    assert "needs two models with answers; M2 alone has." in said.messages[-1]


def test_some_answers_are_compared_with_an_honest_n(matches: HeadToHead, said: Listener, skilled: Skilled) -> None:
    matches.answer(model("M1", Spent(10)), said)
    matches.answer(model("M2", skilled(0.5)), said)
    found = matches.hold(said)
    assert found is not None
    (pair,) = found.pairs
    assert (pair.n_scored, pair.n_total) == (10, N_PROMPTS)
    assert said.stages["head-to-head"] == {"pairs": 1, "unscored: over_budget: M1": N_PROMPTS - 10}


def test_who_answered_other_prompts_is_left_out_and_named(
    matches: HeadToHead, said: Listener, skilled: Skilled, tmp_path: Path
) -> None:
    for name in ("M0", "M1"):
        matches.answer(model(name, skilled(0.5)), said)
    few = tmp_path / "few.jsonl"
    jsonl.write(few, [Prompt.model_validate(p.model_dump()) for p in matches.prompts[:4]])
    fewer = HeadToHead(matches.root, matches.setting, few)
    assert fewer.plan(3).answers.calls == 12
    fewer.answer(model("M2", skilled(1.0)), said)
    assert fewer.hold(said) is None
    assert [m for m in said.messages if "M0 answered other prompts" in m]
    fewer.answer(model("M1", skilled(0.5)), said)
    found = fewer.hold(said)
    assert found is not None
    assert (list(found.checkpoints), found.n_prompts) == (["M1", "M2"], 4)


def test_who_could_not_answer_meets_nobody(matches: HeadToHead, said: Listener, skilled: Skilled) -> None:
    for name in ("M0", "M1"):
        with pytest.raises(EngineError):
            matches.answer(Model(name, name, _cannot_be_loaded), said)
    assert matches.hold(said) is None
    matches.answer(model("M2", skilled(0.5)), said)
    assert matches.hold(said) is None


def _cannot_be_loaded() -> Engine:
    raise EngineError("cannot be loaded")


def test_damaged_answers_are_named_and_do_not_stop_the_others(
    matches: HeadToHead, said: Listener, skilled: Skilled
) -> None:
    for name in ("M0", "M1", "M2"):
        matches.answer(model(name, skilled(0.5)), said)
    (matches.root / "M0/eval/head-to-head@1/answers.jsonl").write_text("{}\n")
    found = matches.hold(said)
    assert found is not None
    assert list(found.checkpoints) == ["M1", "M2"]
    assert any("M0" in m and "answers.jsonl:1" in m for m in said.messages)


@pytest.mark.parametrize("judge", [None, JudgeRole("self")])
def test_one_judge_has_to_compare_all(config: RunConfig, tmp_path: Path, judge: JudgeRole | None) -> None:
    with pytest.raises(ConfigError, match=r"one judge has to compare all pairs.*--judge openai:MODEL@URL"):
        HeadToHead(tmp_path, Setting(config, judge=judge))


def test_prompts_that_are_not_there(config: RunConfig, tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no such file"):
        HeadToHead(tmp_path, Setting(config, judge=ORACLE), tmp_path / "none.jsonl")
