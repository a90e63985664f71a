"""The drift matrix as part of an evaluation: what it is made of, in both worlds, and what is kept."""

from __future__ import annotations

import gzip
import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from leaderboards import standings
from leaderboards.base import JudgeRole, Setting
from leaderboards.drift.session import asked_of_each, drift, needed
from leaderboards.harness import evaluate_model
from leaderboards.head_to_head.tournament import HeadToHead
from leaderboards.judge_accuracy.benchmark import OasstJudgeAccuracy
from leaderboards.models import Model, Opened
from leaderboards.suites import NAMES
from selfreward_bench.config import JudgeConfig, RunConfig
from selfreward_bench.engines.base import ChoiceRequest
from selfreward_bench.engines.lazy import LazyEngine
from selfreward_bench.engines.scripted import ScriptedEngine
from selfreward_bench.errors import DataError
from selfreward_bench.progress import Silent
from selfreward_bench.sources.directory import DataDir

from ..head_to_head.test_tournament import Listener, Spent

Skilled = Callable[..., ScriptedEngine]


def opened(name: str, engine: ScriptedEngine) -> Opened:
    lazy = LazyEngine(lambda: engine, keep=True)
    return Opened(Model(name, f"weights of {name}", lazy.open), lazy)


@pytest.mark.parametrize("world", ["micro", "real"])
def test_what_it_needs_has_a_name(world: str) -> None:
    assert set(needed(world)) <= set(NAMES[world].values())  # type: ignore[arg-type,index]  # the two literals


@pytest.fixture
def models(skilled: Skilled) -> list[Opened]:
    """A model that judges well, and one that gives everything a 5."""
    return [opened("M1", skilled(0.3)), opened("M2", skilled(1.0, judge=lambda prompt, answer: 5.0))]


def test_micro_models_judge_each_others_answers(
    world_files: Path, config: RunConfig, models: list[Opened], tmp_path: Path
) -> None:
    setting = Setting(config, judge=JudgeRole("oracle"))
    for o in models:
        evaluate_model(o.model, {"micro-quality": setting}, out_dir=tmp_path / o.model.name / "eval")
    found = drift(tmp_path, models, setting, "micro", Silent())
    assert standings.read_drift(tmp_path / "drift.json") == found
    assert found is not None
    strict, lenient = found.judges
    assert (strict.name, lenient.name) == ("M1", "M2")
    assert (strict.fingerprint, lenient.fingerprint) == ("weights of M1", "weights of M2")
    assert lenient.mean_score.value == pytest.approx(5, abs=0.2)
    assert strict.accuracy is not None
    assert lenient.accuracy is not None
    assert (strict.accuracy.value or 0) > 0.9 > 0.6 > (lenient.accuracy.value or 0)
    asked = [len(o.model.open().requests) for o in models]  # type: ignore[attr-defined]  # scripted
    assert drift(tmp_path, models, setting, "micro", Silent()) == found
    assert [len(o.model.open().requests) for o in models] == asked  # type: ignore[attr-defined]  # scripted


def test_a_model_judges_as_it_is_asked_to_as_a_judge(
    world_files: Path, config: RunConfig, models: list[Opened], skilled: Skilled, tmp_path: Path
) -> None:
    """And keeps those judgments apart from the ones it made otherwise."""
    setting = Setting(config, judge=JudgeRole("oracle"))
    for o in models:
        evaluate_model(o.model, {"micro-quality": setting}, out_dir=tmp_path / o.model.name / "eval")
    drift(tmp_path, models, setting, "micro", Silent())
    strict = LazyEngine(lambda: skilled(0.3), keep=True)
    other = replace(models[1], model=replace(models[1].model, judging=strict, asked="9 tokens"))
    before = len(models[1].engine.open().requests)  # type: ignore[attr-defined]  # scripted
    found = drift(tmp_path, [models[0], other], setting, "micro", Silent())
    assert found is not None
    assert ((found.judges[1].accuracy and found.judges[1].accuracy.value) or 0) > 0.9
    assert len(models[1].engine.open().requests) == before  # type: ignore[attr-defined]  # scripted
    assert len(list((tmp_path / "drift" / "M2").glob("judgments-*.jsonl"))) == 2


def test_progress_counts_every_sample(
    world_files: Path, config: RunConfig, models: list[Opened], tmp_path: Path
) -> None:
    setting = Setting(config, judge=JudgeRole("oracle"))
    for o in models:
        evaluate_model(o.model, {"micro-quality": setting}, out_dir=tmp_path / o.model.name / "eval")
    sampled = config.model_copy(update={"judge": config.judge.model_copy(update={"mode": "sampled", "samples": 4})})
    judges, said = [opened(name, ScriptedEngine({"*": "Score: 3"})) for name in ("M1", "M2")], Listener()
    found = drift(tmp_path, judges, Setting(sampled, judge=setting.judge), "micro", said)
    assert found is not None
    assert said.totals == {"drift": 2 * 4 * found.n_responses}
    assert said.units == said.totals["drift"]


def test_who_judged_nothing_is_left_out_with_the_reason(
    world_files: Path, config: RunConfig, models: list[Opened], skilled: Skilled, tmp_path: Path
) -> None:
    setting, said = Setting(config, judge=JudgeRole("oracle")), Listener()
    poor = opened("M3", Spent())
    for o in (*models, opened("M3", skilled(0.5))):
        evaluate_model(o.model, {"micro-quality": setting}, out_dir=tmp_path / o.model.name / "eval")
    assert drift(tmp_path, [models[0], poor], setting, "micro", said) is None
    n = next(int(m.split(" of ")[0].split()[-1]) for m in said.messages)
    assert said.messages == [
        f"drift, M3: {n} of {n} responses not judged (over_budget {n}); it is left out.",
        "drift needs two models that judged; there is no matrix.",
    ]
    assert not (tmp_path / "drift.json").exists()
    found = drift(tmp_path, [*models, poor], setting, "micro", said)
    assert found is not None
    assert [j.name for j in found.judges] == ["M1", "M2"]
    assert found.authors == ("M1", "M2", "M3")  # its answers are judged all the same


def test_answers_that_are_missing_are_named(
    world_files: Path, config: RunConfig, models: list[Opened], tmp_path: Path
) -> None:
    setting = Setting(config, judge=JudgeRole("oracle"))
    evaluate_model(models[0].model, {"micro-quality": setting}, out_dir=tmp_path / "M1/eval")
    with pytest.raises(DataError, match="M2"):
        drift(tmp_path, models, setting, "micro", Silent())
    assert not (tmp_path / "drift.json").exists()


def test_real_models_judge_their_answers_and_a_slice_that_people_ranked(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    instructions = [{"instruction": f"Tell me of {i}.", "output": "x", "dataset": "d"} for i in range(5)]
    path = tmp_path / "data/alpaca_eval/alpaca_eval.json"
    path.parent.mkdir(parents=True)
    path.write_text(json.dumps(instructions))
    setting = Setting(
        RunConfig(judge=JudgeConfig(prompt="additive-5pt", mode="expected")),
        DataDir(tmp_path / "data"),
        JudgeRole("a-judge", ScriptedEngine({"*": "m"}, {"*": [-0.1, -2.0]})),
    )

    def speak(text: str, points: float) -> ScriptedEngine:
        def grade(request: ChoiceRequest) -> list[float]:
            return [-abs(k - points) for k in range(len(request.choices))]

        return ScriptedEngine({"*": text}, grade)

    models = [opened("a", speak("Yes.", 1)), opened("b", speak("No, not so.", 4))]
    trees = [
        {
            "message_tree_id": f"t{i}",
            "prompt": {
                "text": f"question {i}",
                "role": "prompter",
                "lang": "en",
                "replies": [{"text": f"answer {k}", "role": "assistant", "lang": "en", "rank": k} for k in range(3)],
            },
        }
        for i in range(4)
    ]
    ranked = tmp_path / "data/oasst/en_100_tree.jsonl.gz"
    ranked.parent.mkdir()
    ranked.write_bytes(gzip.compress("".join(json.dumps(t) + "\n" for t in trees).encode(), mtime=0))
    matches = HeadToHead(tmp_path / "run", setting)
    for o in models:
        matches.answer(o.model, Silent())
    found = drift(tmp_path / "run", models, setting, "real", Silent())
    assert found is not None
    assert {(s.judge, s.author) for s in found.scores} == {(j, w) for j in "ab" for w in ("a", "b", "human")}
    assert [j.own_advantage is not None for j in found.judges] == [True, True]
    assert len(OasstJudgeAccuracy().load(setting).prompts) == 4
    monkeypatch.setattr("leaderboards.drift.session.POOL_PROMPTS", 3)
    few = drift(tmp_path / "run", models, setting, "real", Silent())
    assert few is not None
    assert (few.n_prompts, few.n_responses) == (3 + 3, 2 * 3 + 3 * 3)  # spread over all of them
    assert asked_of_each(2, setting, "real").calls == few.n_responses
    monkeypatch.undo()
    planned = asked_of_each(2, setting, "real").calls
    assert planned == 2 * 5 + 4 * 3 == found.n_responses
    assert planned == sum(isinstance(r, ChoiceRequest) for r in models[0].model.open().requests)  # type: ignore[attr-defined]  # scripted
