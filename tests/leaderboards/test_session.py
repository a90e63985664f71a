"""One call of evaluation on scripted models and made-up finished files: what is run, with whom, and what is left."""

from __future__ import annotations

import json
import math
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

import leaderboards
from leaderboards import standings
from leaderboards.alpaca_eval import scores as alpaca_scores
from leaderboards.alpaca_eval.length_control import length_controlled
from leaderboards.session import Asked, Evaluation, Session
from leaderboards.suites import chosen, default_config, run_of
from selfreward_bench import recipes
from selfreward_bench.config import EngineConfig, RunConfig
from selfreward_bench.engines.base import Engine, GenerationRequest
from selfreward_bench.engines.scripted import ScriptedEngine, prompt_text
from selfreward_bench.errors import ConfigError, DataError, EngineError, IncompatibleRunError, UnknownNameError
from selfreward_bench.micro import world
from selfreward_bench.models.candidates import parse_candidates
from selfreward_bench.models.opening import Services
from selfreward_bench.prices import load_prices
from selfreward_bench.storage import jsonl
from selfreward_bench.storage.rundir import RunDir
from selfreward_bench.types import Completion, Prompt, SampleScore

ROOT_OF_DATA = Path(os.environ.get("SRBENCH_DATA_DIR", "/nowhere"))
ALL_BUT_NLP = ("quality", "judge-accuracy", "alpaca-eval", "mt-bench", "head-to-head")  # nlp needs a model with weights

Skilled = Callable[..., ScriptedEngine]
Checkpoint = Callable[..., Path]


@pytest.fixture(autouse=True)
def few_refits(monkeypatch: pytest.MonkeyPatch) -> None:
    """Intervals are tested with the length control itself."""
    monkeypatch.setattr(alpaca_scores, "length_controlled", partial(length_controlled, n_refits=40))


@pytest.fixture(autouse=True)
def own_directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("SRBENCH_DATA_DIR", raising=False)
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "no-data"))


@pytest.fixture
def engines(monkeypatch: pytest.MonkeyPatch) -> dict[str, list[ScriptedEngine]]:
    """Model's name -> the engines that were opened on it. ``good``, ``poor`` and ``idle`` are skilled as they say."""
    from .conftest import build_engine

    opened: dict[str, list[ScriptedEngine]] = {}
    shares = {"good": 1.0, "poor": 0.3, "idle": 0.0}

    def open_engine(config: EngineConfig, source: Path, *, threads: int | None = None, **_: object) -> Engine:
        name = source.parent.name if source.name == "checkpoint" else source.name
        if name == "broken":
            raise EngineError("broken cannot be loaded.")
        skilled = build_engine(shares.get(name, 0.6))

        def answer(request: GenerationRequest, index: int) -> str:
            known = callable(skilled._texts) and world.parse(prompt_text(request.prompt)) is not None
            return skilled._texts(request, index) if known else "No idea"  # type: ignore[operator]  # callable, see above

        opened.setdefault(name, []).append(ScriptedEngine(answer, skilled._logprobs, batch_size=16))
        return opened[name][-1]

    monkeypatch.setattr("selfreward_bench.models.opening.open_engine", open_engine)
    return opened


def asked(*texts: str | Path, config: RunConfig, **options: Any) -> Asked:
    services = Services(config.engine, config.threads)
    given: dict[str, Any] = {"world": "micro", "root": Path("out"), **options}
    return Asked(candidates=parse_candidates(map(str, texts)), config=config, services=services, **given)


def files(root: Path) -> dict[str, bytes]:
    return {str(p.relative_to(root)): p.read_bytes() for p in sorted(root.rglob("*")) if p.is_file()}


# --- what is run


@pytest.fixture
def two(checkpoint: Checkpoint) -> tuple[Path, Path]:
    return checkpoint("good", 1.0), checkpoint("poor", 2.0)


@pytest.mark.slow
def test_two_models_on_everything_each_loaded_once(
    world_files: Path, config: RunConfig, two: tuple[Path, Path], engines: dict[str, list[ScriptedEngine]]
) -> None:
    done = Session(asked(*two, config=config, benchmarks=ALL_BUT_NLP[:1] + ALL_BUT_NLP[2:])).run()
    assert done.errors == ()
    keys = ["micro-quality@1", "micro-alpaca-eval@1", "micro-mt-bench@1"]
    assert [(r.checkpoint, r.benchmark) for r in done.results] == [(m, k) for m in ("good", "poor") for k in keys]
    assert {name: len(made) for name, made in engines.items()} == {"good": 1, "poor": 1}
    for made in engines.values():
        with pytest.raises(EngineError, match="closed"):
            made[0].generate([])
    assert done.tournament is not None
    (pair,) = done.tournament.pairs
    assert (pair.a, pair.b) in {("good", "poor"), ("poor", "good")}
    assert standings.read_tournament(Path("out/head-to-head")) == done.tournament
    (match,) = standings.read_standings(Path("out")).head_to_head
    assert {match.a, match.b} == {"good", "poor"}


@pytest.mark.slow
def test_what_is_there_is_not_made_again(
    world_files: Path, config: RunConfig, two: tuple[Path, Path], engines: dict[str, list[ScriptedEngine]]
) -> None:
    wanted = asked(*two, config=config, benchmarks=("quality", "alpaca-eval", "head-to-head"))
    first, before = Session(wanted).run(), files(Path("out"))
    engines.clear()
    assert Session(wanted).run() == first
    assert engines == {}
    assert files(Path("out")) == before


@pytest.mark.slow
def test_the_drift_matrix_needs_answers_and_judgments_of_several(
    world_files: Path, config: RunConfig, two: tuple[Path, Path], engines: dict[str, list[ScriptedEngine]]
) -> None:
    session = Session(asked(*two, config=config, benchmarks=("quality", "judge-accuracy")))
    planned = session.plan()[-1]
    assert session.run().errors == ()
    drift = standings.read_drift(Path("out/drift.json"))
    assert {j.name for j in drift.judges} == {"good", "poor"}
    assert drift.n_responses < 2 * drift.n_prompts  # equal answers are judged once, and planned twice
    assert planned.plan.judgments.calls == 2 * 2 * drift.n_prompts
    alone = Session(asked(two[0], config=config, benchmarks=("quality", "judge-accuracy")))
    assert "drift" not in [p.benchmark for p in alone.plan()]


def test_served_models_are_paid_for_judging_each_other(world_files: Path, config: RunConfig) -> None:
    both = [f"openai:{name}@http://127.0.0.1:9/v1" for name in ("x", "y")]
    *_, drift = Session(asked(*both, config=config, benchmarks=("quality", "judge-accuracy"))).plan()
    assert [name for name, _ in drift.served] == ["x", "y"]
    assert sum(calls.calls for _, calls in drift.served) == drift.plan.judgments.calls
    assert all(calls.prompt_tokens > 0 < calls.completion_tokens for _, calls in drift.served)


def test_a_plan_writes_nothing_and_loads_nothing(
    world_files: Path, config: RunConfig, two: tuple[Path, Path], engines: dict[str, list[ScriptedEngine]]
) -> None:
    planned = Session(asked(*two, config=config, benchmarks=ALL_BUT_NLP)).plan()
    assert not Path("out").exists()
    assert engines == {}
    assert [(p.model, p.benchmark) for p in planned[:2]] == [
        ("good", "micro-quality@1"),
        ("good", "micro-judge-accuracy@1"),
    ]
    matches, drift = planned[-2:]
    assert (matches.model, matches.benchmark) == ("all pairs", "head-to-head")
    assert (drift.model, drift.benchmark) == ("all models", "drift")
    assert all(p.plan.units and not p.current and not p.problem for p in planned)
    assert 2 * matches.plan.judgments.calls == matches.plan.answers.calls  # one pair, no orders
    Session(asked(two[0], config=config, benchmarks=("quality",))).run()
    assert [p.current for p in Session(asked(*two, config=config, benchmarks=("quality",))).plan()] == [True, False]


def test_a_plan_says_what_a_served_model_cannot_do(world_files: Path, config: RunConfig) -> None:
    served = "openai:x@http://127.0.0.1:9/v1"
    quality, nlp = Session(asked(served, config=config, benchmarks=("quality", "nlp"))).plan()
    assert (quality.benchmark, quality.problem) == ("micro-quality@1", "")
    assert nlp.benchmark == "micro-nlp@1"
    assert "log-probabilities" in nlp.problem
    assert not nlp.served


def test_one_broken_model_does_not_stop_the_other(
    world_files: Path, config: RunConfig, checkpoint: Checkpoint, engines: dict[str, list[ScriptedEngine]]
) -> None:
    both = checkpoint("broken", 3.0), checkpoint("good", 1.0)
    done = Session(asked(*both, config=config, benchmarks=("quality", "alpaca-eval", "head-to-head"))).run()
    assert [r.checkpoint for r in done.results] == ["good", "good"]
    told = [e.partition(": broken cannot")[0] for e in done.errors]
    assert told == ["broken: micro-quality@1", "broken: micro-alpaca-eval@1", "broken: head-to-head"]
    failure = standings.read_failure(Path("out/broken/eval/micro-quality@1/failure.json"))
    assert (failure.error, failure.message) == ("EngineError", "broken cannot be loaded.")
    assert standings.evaluated_models(Path("out")) == ["good"]


def test_one_failing_benchmark_does_not_stop_the_others(
    world_files: Path, config: RunConfig, checkpoint: Checkpoint, engines: dict[str, list[ScriptedEngine]]
) -> None:
    good = checkpoint("good", 1.0)
    done = Session(asked(good, config=config, benchmarks=("nlp", "quality"))).run()
    assert [r.benchmark for r in done.results] == ["micro-quality@1"]
    assert len(done.errors) == 1
    assert done.errors[0].startswith("good: micro-nlp@1: ")


def test_a_result_of_other_settings_is_not_passed_off_as_this_ones(
    world_files: Path, config: RunConfig, checkpoint: Checkpoint, engines: dict[str, list[ScriptedEngine]]
) -> None:
    good = checkpoint("good", 1.0)
    wanted = asked(good, config=config, benchmarks=("judge-accuracy",))
    (first,) = Session(wanted).run().results
    rankings = world_files / "rankings.jsonl"
    before = rankings.read_bytes()
    rankings.unlink()
    away = Session(wanted).run()
    assert (away.results, len(away.errors)) == ((), 1)
    rankings.write_bytes(before)
    back = Session(wanted).run()
    assert (back.results, back.errors) == ((first,), ())
    assert not list(Path("out").rglob("failure.json"))


def test_a_damaged_neighbour_spoils_the_comparison_alone(
    world_files: Path, config: RunConfig, checkpoint: Checkpoint, engines: dict[str, list[ScriptedEngine]]
) -> None:
    neighbour = Path("out/neighbour/eval/micro-quality@1/result.json")
    neighbour.parent.mkdir(parents=True)
    neighbour.write_text("{")
    done = Session(asked(checkpoint("good"), config=config, benchmarks=("quality",))).run()
    assert [r.checkpoint for r in done.results] == ["good"]
    assert len(done.errors) == 1
    assert done.errors[0].startswith("comparison: out/neighbour/")


def test_two_writers_are_refused(
    world_files: Path, config: RunConfig, checkpoint: Checkpoint, engines: dict[str, list[ScriptedEngine]]
) -> None:
    Path("out").mkdir()
    with RunDir(Path("out"), config).lock(), pytest.raises(IncompatibleRunError):
        Session(asked(checkpoint("good"), config=config, benchmarks=("quality",))).run()


# --- names, worlds, settings


def test_a_suite_and_its_limit(world_files: Path, config: RunConfig, checkpoint: Checkpoint) -> None:
    session = Session(asked(checkpoint("good"), config=config))
    assert session.names == chosen(
        ["quality", "judge-accuracy", "alpaca-eval", "mt-bench", "nlp", "head-to-head"], "micro"
    )
    assert session.setting.config.eval.limit is None
    quick = Session(asked(checkpoint("good"), config=config, suite="quick"))
    assert quick.setting.config.eval.limit == 32
    limited = config.model_copy(update={"eval": config.eval.model_copy(update={"limit": 5})})
    assert Session(asked(checkpoint("good"), config=limited, suite="quick")).setting.config.eval.limit == 5
    assert Session(asked(checkpoint("good"), config=config, suite="quick", benchmarks=("quality",))).names == [
        "micro-quality"
    ]
    with pytest.raises(UnknownNameError, match="Did you mean 'paper'"):
        Session(asked(checkpoint("good"), config=config, suite="papper"))


def test_unknown_benchmarks_and_files_for_those_that_take_none(config: RunConfig, checkpoint: Checkpoint) -> None:
    with pytest.raises(UnknownNameError, match="Did you mean 'quality'"):
        Session(asked(checkpoint("good"), config=config, benchmarks=("qualty",)))
    with pytest.raises(ConfigError, match="takes no file"):
        Session(asked(checkpoint("good"), config=config, benchmarks=("quality:x.jsonl",)))
    with pytest.raises(ConfigError, match="needs a file; name it as judge-accuracy-jsonl:FILE"):
        Session(asked(checkpoint("good"), config=config, world="real", benchmarks=("judge-accuracy-jsonl",)))


def test_a_benchmark_with_a_file(config: RunConfig, checkpoint: Checkpoint, engines: Any) -> None:
    rows = [
        {
            "id": f"r{i}",
            "prompt": f"Name a food, {i}.",
            "responses": [{"text": "Yes", "rank": 0}, {"text": "No", "rank": 1}],
        }
        for i in range(6)
    ]
    Path("mine.jsonl").write_text("".join(json.dumps(r) + "\n" for r in rows))
    name = "judge-accuracy-jsonl:mine.jsonl"
    done = Session(asked(checkpoint("good"), config=config, world="real", benchmarks=(name,))).run()
    assert done.errors == ()
    assert [r.benchmark for r in done.results] == ["judge-accuracy-jsonl@1"]
    assert done.results[0].metrics["pairwise_accuracy"].n_total == 6
    assert len(done.samples("judge-accuracy-jsonl@1")) > 0


def test_head_to_head_on_prompts_of_ones_own(
    config: RunConfig, two: tuple[Path, Path], engines: dict[str, list[ScriptedEngine]], world_files: Path
) -> None:
    shutil.copy(world_files / "test.jsonl", "mine.jsonl")
    few = (world_files / "test.jsonl").read_text().splitlines()[:5]
    Path("mine.jsonl").write_text("\n".join(few) + "\n")
    done = Session(asked(*two, config=config, benchmarks=("head-to-head:mine.jsonl",))).run()
    assert done.errors == ()
    assert done.tournament is not None
    assert done.tournament.n_prompts == 5


def test_what_models_outside_a_run_are_evaluated_with() -> None:
    assert default_config("micro") == recipes.load("micro")
    real = default_config("real", ["eval.samples=3"])
    assert real.eval.samples == 3
    assert real.eval.answering.max_new_tokens == 2048
    assert (real.judge.prompt, real.judge.mode, real.threads) == ("additive-5pt", "sampled", None)
    with pytest.raises(ConfigError, match="--set nonsense"):
        default_config("real", ["nonsense=1"])


def test_a_run_brings_its_own_settings_and_takes_the_results(
    world_files: Path, config: RunConfig, engines: dict[str, list[ScriptedEngine]], checkpoint: Checkpoint
) -> None:
    run = RunDir.create(Path("runs/a"), config.model_copy(update={"seed": 11}))
    shutil.copytree(checkpoint("M1"), run.path / "M1/checkpoint")
    assert run_of(parse_candidates(["runs/a:M1"])) == run.path
    done = leaderboards.evaluate(["runs/a:M1"], benchmarks=["quality"])
    assert (done.root, done.errors) == (run.path, ())
    stored = standings.read_result(run.path / "M1/eval/micro-quality@1/result.json")
    assert done.results == (stored,)
    elsewhere = leaderboards.evaluate(["runs/a:M1"], benchmarks=["quality"], output=Path("there"), seed=12)
    assert elsewhere.results[0].config_hash != stored.config_hash
    outside = leaderboards.evaluate(
        [run.path / "M1/checkpoint", checkpoint("poor")], benchmarks=["quality"], world="micro"
    )
    assert outside.root == Path("runs/eval")
    assert {r.checkpoint for r in outside.results} == {"M1", "poor"}


# --- judges


def test_the_oracle_judges_the_micro_world_and_it_alone(config: RunConfig, checkpoint: Checkpoint) -> None:
    good = checkpoint("good")
    assert Session(asked(good, config=config, benchmarks=("alpaca-eval",))).judge.name == "oracle"  # type: ignore[union-attr]
    for judge in ("self", "openai:m@http://127.0.0.1:9/v1"):
        with pytest.raises(ConfigError, match="oracle"):
            Session(asked(good, config=config, judge=judge))
    with pytest.raises(ConfigError, match="the oracle knows the micro-world alone"):
        Session(asked(good, config=config, world="real", judge="oracle", benchmarks=("alpaca-eval",)))


def test_a_judge_is_never_a_silent_choice(config: RunConfig, checkpoint: Checkpoint) -> None:
    real = partial(asked, checkpoint("good"), config=config, world="real")
    with pytest.raises(ConfigError, match=r"alpaca-eval, mt-bench: .* no judge was named.*--judge openai:MODEL@URL"):
        Session(real(benchmarks=("alpaca-eval", "mt-bench", "nlp")))
    with pytest.raises(ConfigError, match=r"Without a judge there are: --benchmarks nlp,judge-accuracy-oasst\."):
        Session(real(benchmarks=("alpaca-eval", "nlp", "judge-accuracy")))
    with pytest.raises(ConfigError, match=r"`self` would be another one.*--benchmarks alpaca-eval,mt-bench"):
        Session(real(judge="self"))
    Path("outputs.json").write_text("[]")
    with pytest.raises(ConfigError, match="finished files cannot judge"):
        Session(real(judge="outputs.json", benchmarks=("alpaca-eval",)))
    with pytest.raises(DataError, match="is not there"):
        Session(real(judge="./nowhere", benchmarks=("alpaca-eval",)))


def test_each_model_is_its_own_judge_under_self(config: RunConfig, two: tuple[Path, Path]) -> None:
    session = Session(asked(*two, config=config, world="real", judge="self", benchmarks=("alpaca-eval",)))
    roles = [e.settings["alpaca-eval"].judge for e in session._entries]
    assert [r.name for r in roles if r] == ["self", "self"]
    assert len({r.snapshot for r in roles if r}) == 2
    assert session._entries[0].settings["alpaca-eval"].judge is not None


# --- finished files


TEXTS = [f"Tell me about thing {i}." for i in range(12)]
LLMBAR_ROW = {"input": "Count to 3.", "output_1": "1 2 3", "output_2": "Three!", "label": 1}
PANDALM_ROW = {"idx": 7, "instruction": "Add.", "input": "1 + 1", "response1": "2", "response2": "3"}


def put(path: Path, value: object) -> Path:
    """JSON, or JSONL where the name says so."""
    path.parent.mkdir(parents=True, exist_ok=True)
    lines = value if path.suffix == ".jsonl" and isinstance(value, list) else [value]
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))
    return path


def write_alpaca_data(root: Path, texts: Sequence[str]) -> None:
    """What AlpacaEval needs, in the data directory's layout."""
    folder = root / "alpaca_eval"
    sets = ("koala", "vicuna")
    rows = [{"instruction": t, "dataset": sets[i % 2], "output": "x", "generator": "d"} for i, t in enumerate(texts)]
    put(folder / "alpaca_eval.json", rows)
    rows = [
        {"instruction": t, "output": f"It is {len(t)}." * (1 + i % 5), "generator": "base"} for i, t in enumerate(texts)
    ]
    put(folder / "alpaca_eval_gpt4_baseline.json", rows)
    (folder / "lc_glm").mkdir()
    lines = [f"{i},{math.sin(i)}" for i in range(len(texts))]
    (folder / "lc_glm/instruction_difficulty.csv").write_text("\n".join(["index,instruction_difficulty", *lines]))
    head = "preference,index,std_delta_len,instruction_difficulty,not_gamed_baseline,model"
    n = len(texts)
    lines = [f"{0.5 + g * 0.3},{i},{-g * math.cos(i)},{math.sin(i)},False,{g}" for g in (-1, 1) for i in range(n)]
    (folder / "lc_glm/df_gamed.csv").write_text("\n".join([head, *lines]))


def annotations(better: Callable[[int], bool], annotator: str = "a-judge") -> list[dict[str, Any]]:
    return [
        {
            "instruction": text,
            "output_1": f"It is {len(text)}.",
            "generator_1": "base",
            "output_2": "good " * (3 + i % 4),
            "generator_2": "mine",
            "annotator": annotator,
            "preference": 1.9 if better(i) else 1.2,
        }
        for i, text in enumerate(TEXTS)
    ]


def judged(score: int, question: int = 81, turn: int = 1) -> dict[str, Any]:
    return {
        "question_id": question,
        "model": "m",
        "judge": ["j", "single-v1"],
        "judgment": f"[[{score}]]",
        "score": score,
        "turn": turn,
    }


@pytest.fixture
def data() -> Path:
    """AlpacaEval, MT-Bench, LLMBar and PandaLM, made up."""
    root = Path("data")
    write_alpaca_data(root, TEXTS)
    questions = [{"question_id": i, "category": "writing", "turns": ["Write.", "Shorter."]} for i in (81, 82)]
    put(root / "mt_bench/mt_bench/question.jsonl", questions)
    reference = {"question_id": 81, "model_id": "gpt-4", "choices": [{"index": 0, "turns": ["A.", "B."]}]}
    put(root / "mt_bench/mt_bench/reference_answer/gpt-4.jsonl", [reference])
    rows = [LLMBAR_ROW, {**LLMBAR_ROW, "input": "Other.", "label": 2}]
    put(root / "llmbar/LLMBar/Natural/dataset.json", rows)
    for subset in ("Neighbor", "GPTInst", "GPTOut", "Manual"):
        put(root / f"llmbar/LLMBar/Adversarial/{subset}/dataset.json", [{**LLMBAR_ROW, "input": subset}])
    for subset in ("FairEval", "MT-Bench"):
        put(root / f"llmbar/Processed/{subset}/dataset.json", [{**LLMBAR_ROW, "input": subset}])
    votes = {f"annotator{k}": 1 for k in (1, 2, 3)}
    put(root / "pandalm/testset-v1.json", [{**PANDALM_ROW, **votes, "idx": i} for i in range(4)])
    return root


def values(done: Evaluation) -> dict[str, float | None]:
    (result,) = done.results
    return {name: m.value for name, m in result.metrics.items()}


def test_finished_alpaca_eval_annotations(data: Path) -> None:
    file = put(Path("mine/annotations.json"), annotations(lambda i: i % 3 == 0))
    done = leaderboards.evaluate([file], data_dir=data)
    assert done.errors == ()
    (result,) = done.results
    assert (result.checkpoint, result.benchmark, result.judge) == (
        "mine",
        "alpaca-eval@1",
        "a-judge (finished annotations)",
    )
    assert (result.metrics["n_wins"].value, result.metrics["n_wins_base"].value) == (4, 8)
    assert result.metrics["win_rate"].value == pytest.approx(100 * (4 * 0.9 + 8 * 0.2) / 12)
    assert not (done.root / "head-to-head").exists()


@pytest.mark.slow
def test_finished_files_are_compared_where_they_were_judged_alike(data: Path) -> None:
    for name, share, annotator in (("one", 2, "a-judge"), ("three", 3, "a-judge"), ("two", 4, "another-judge")):
        put(Path(name, "annotations.json"), annotations(lambda i, share=share: i % share == 0, annotator))  # type: ignore[misc]
    done = leaderboards.evaluate([f"{n}/annotations.json" for n in ("one", "three", "two")], data_dir=data)
    assert done.errors == ()
    compared = standings.read_standings(done.root)
    assert {(d.a, d.b) for d in compared.differences} == {("three", "one")}
    gain = compared.difference("alpaca-eval@1", "win_rate", "three", "one")
    assert gain is not None
    assert gain.value == pytest.approx(100 * 0.7 * (4 - 6) / 12)
    (note,) = compared.notes
    assert note.startswith("two was evaluated on alpaca-eval@1 with")
    assert "beside one and three and is not compared with them. Evaluate all alike." in note
    assert "unlike conditions (annotator, judge)" in note


def test_finished_alpaca_eval_outputs_need_a_judge_and_no_model(
    data: Path, engines: Any, checkpoint: Checkpoint
) -> None:
    rows = [{"instruction": t, "output": "good", "generator": "mine"} for t in TEXTS]
    file = put(Path("mine/model_outputs.json"), rows)
    with pytest.raises(ConfigError, match=r"alpaca-eval: somebody has to judge"):
        leaderboards.evaluate([file], data_dir=data)
    judge = checkpoint("judge")
    done = leaderboards.evaluate([file], data_dir=data, judge=str(judge))
    assert [(r.checkpoint, r.benchmark) for r in done.results] == [("mine", "alpaca-eval@1")]
    assert engines.keys() == {"judge"}
    assert len(engines["judge"]) == 1
    assert done.results[0].comparability["judge"] == str(judge)
    assert len(done.results[0].comparability["snapshot"]) > 16


def test_finished_outputs_are_held_head_to_head(data: Path, engines: Any, checkpoint: Checkpoint) -> None:
    paths = [
        put(Path(f"{name}.json"), [{"instruction": t, "output": f"{name} {t}", "generator": name} for t in TEXTS])
        for name in ("M1", "M2")
    ]
    with pytest.raises(ConfigError, match="head-to-head: one judge has to compare all pairs"):
        leaderboards.evaluate(paths, data_dir=data, benchmarks="head-to-head")
    judge = str(checkpoint("judge"))
    done = leaderboards.evaluate(paths, data_dir=data, benchmarks="head-to-head", judge=judge)
    assert done.errors == ()
    assert done.results == ()
    assert done.tournament is not None
    (pair,) = done.tournament.pairs
    assert (pair.a, pair.b, pair.n_total) == ("M2", "M1", len(set(TEXTS)))
    assert done.tournament.comparability["judge"] == judge
    assert engines.keys() == {"judge"}  # nobody else is asked


def test_finished_annotations_of_two_models_are_their_head_to_head(data: Path) -> None:
    rows = annotations(lambda i: i % 2 == 0)
    file = put(Path("a.json"), [{**row, "generator_1": "M1", "generator_2": "M2"} for row in rows])
    done = leaderboards.evaluate([file], data_dir=data, benchmarks="head-to-head")
    assert done.errors == ()
    assert done.tournament is not None
    assert [(p.a, p.b) for p in done.tournament.pairs] == [("M2", "M1")]
    with pytest.raises(DataError, match="belongs to another benchmark: mt-bench"):
        leaderboards.evaluate([put(Path("m.jsonl"), [judged(5, 81, 1)])], data_dir=data, benchmarks="head-to-head")


def test_finished_fastchat_judgments(data: Path) -> None:
    lines = [
        judged(score, question, turn) for score, question, turn in ((8, 81, 1), (6, 81, 2), (4, 82, 1), (2, 82, 2))
    ]
    done = leaderboards.evaluate([put(Path("m.jsonl"), lines)], data_dir=data)
    assert done.errors == ()
    assert done.results[0].benchmark == "mt-bench@1"
    found = values(done)
    assert (found["grade"], found["grade_turn_1"], found["grade_turn_2"]) == (5, 6, 4)


def test_finished_lm_eval_results(data: Path) -> None:
    content = {
        "results": {"piqa": {"alias": "piqa", "acc,none": 0.5, "acc_stderr,none": 0.1, "acc_norm,none": 0.625}},
        "configs": {"piqa": {"task": "piqa", "num_fewshot": 0, "metric_list": [{"metric": "acc"}]}},
        "versions": {"piqa": 1.0},
        "n-shot": {"piqa": 0},
        "n-samples": {"piqa": {"original": 8, "effective": 8}},
        "lm_eval_version": "0.4.9",
        "model_name": "mine",
    }
    done = leaderboards.evaluate([put(Path("mine/results_2024-01-01.json"), content)], data_dir=data)
    assert done.errors == ()
    assert done.results[0].benchmark == "nlp@1"
    assert values(done)["piqa"] in (0.5, 0.625)


def test_finished_llmbar_and_pandalm_verdicts(data: Path) -> None:
    def calls(first: str, second: str) -> dict[str, Any]:
        return {"results": [{"swap = False": {"winner": first}, "swap = True": {"winner": second}}]}

    put(
        Path("gpt/result.json"),
        [LLMBAR_ROW | calls("1", "2"), {**LLMBAR_ROW, "input": "Other.", "label": 2} | calls("2", "2")],
    )
    done = leaderboards.evaluate(["gpt/result.json"], data_dir=data)
    assert [r.benchmark for r in done.results] == ["judge-accuracy-llmbar@1"], done.errors
    assert values(done)["order_accuracy/Natural"] == 0.75
    verdicts = [{"idx": i, "gpt_result": r} for i, r in enumerate(("1", "1", "2", "garbage"))]
    done = leaderboards.evaluate([put(Path("verdicts.json"), verdicts)], data_dir=data)
    assert [r.benchmark for r in done.results] == ["judge-accuracy-pandalm@1"]
    found = done.results[0].metrics["label_accuracy"]
    assert (found.value, found.n_scored, found.n_total) == (pytest.approx(2 / 3), 3, 4)


def test_a_file_in_no_known_format(data: Path) -> None:
    with pytest.raises(DataError, match=r"no known format.*docs/formats\.md"):
        leaderboards.evaluate([put(Path("x.json"), {"a": 1})], data_dir=data)
    file = put(Path("mine/annotations.json"), annotations(lambda i: True))
    with pytest.raises(
        DataError, match=r"annotations\.json belongs to another benchmark: alpaca-eval.*--benchmarks alpaca"
    ):
        leaderboards.evaluate([file], data_dir=data, benchmarks=["mt-bench"])


@pytest.mark.slow
@pytest.mark.skipif("SRBENCH_DATA_DIR" not in os.environ, reason="SRBENCH_DATA_DIR is not set")
def test_published_files_give_the_published_numbers() -> None:
    root = ROOT_OF_DATA
    results = root / "alpaca_eval/results/claude-2/weighted_alpaca_eval_gpt4_turbo/annotations.json.gz"
    judgments = next((root / "mt_bench").rglob("gpt-4_single.jsonl*"))
    verdicts = root / "llmbar/LLMBar"
    done = leaderboards.evaluate([results], benchmarks=["alpaca-eval"], data_dir=root)
    found = values(done)
    assert done.results[0].checkpoint == "claude-2"
    assert found["win_rate"] == pytest.approx(17.1882, abs=5e-5)
    assert found["length_controlled_winrate"] == pytest.approx(28.1552, abs=1e-4)
    done = leaderboards.evaluate([verdicts], data_dir=root)
    assert [r.benchmark for r in done.results] == ["judge-accuracy-llmbar@1"], done.errors
    assert round(100 * (values(done)["order_accuracy/Natural"] or 0), 1) == 95.5
    assert judgments.is_file()


# --- tables


def test_metrics_and_samples_as_tables(
    world_files: Path, config: RunConfig, two: tuple[Path, Path], engines: dict[str, list[ScriptedEngine]]
) -> None:
    done = Session(asked(*two, config=config, benchmarks=("quality", "alpaca-eval"))).run()
    metrics = done.metrics()
    assert list(metrics.columns[:7]) == ["checkpoint", "benchmark", "metric", "value", "low", "high", "n_scored"]
    assert len(metrics) == sum(len(r.metrics) for r in done.results)
    best = metrics.query("metric == 'exact_sampled' and checkpoint == 'good'").iloc[0]
    assert (best.value, best.n_total) == (1.0, 48)
    samples = done.samples("micro-quality@1")
    assert set(samples.checkpoint) == {"good", "poor"}
    means = samples.groupby("checkpoint").quality_sampled.mean()
    for r in done.results[::2]:
        assert means[r.checkpoint] == pytest.approx(r.metrics["quality_sampled"].value)
    rows = jsonl.read(Path("out/good/eval/micro-quality@1/scores.jsonl"), SampleScore)
    assert len(samples.query("checkpoint == 'good'")) == len(rows)
    assert set(samples.prompt) == {p.text for p in jsonl.read(world_files / "test.jsonl", Prompt)}
    answers = {c.id: c.text for c in jsonl.read(Path("out/poor/eval/micro-quality@1/answers.jsonl"), Completion)}
    of_poor = samples[(samples.checkpoint == "poor") & samples.sample_id.str.startswith("sampled/")]
    assert dict(zip(of_poor.sample_id.str.removeprefix("sampled/"), of_poor.answer, strict=True)) == answers
    assert list(Evaluation(Path(), ()).metrics().columns) == list(metrics.columns)
    pd.testing.assert_frame_equal(Evaluation.load(Path("out")).metrics(), metrics)
    pd.testing.assert_frame_equal(Evaluation.load(Path("out")).samples("alpaca-eval"), done.samples("alpaca-eval"))


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"benchmarks": "qualty"}, UnknownNameError, "Unknown benchmark .*'qualty'. Did you mean 'quality'"),
        ({"benchmarks": ["quality", "nlq"]}, UnknownNameError, "Did you mean 'nlp'"),
        ({"suite": "micor"}, UnknownNameError, "Unknown suite 'micor'. Did you mean 'micro'"),
        ({"benchmark": "quality"}, TypeError, "no option 'benchmark'. Did you mean 'benchmarks'"),
        ({"limit": 0}, ConfigError, "limit: eval.limit: must be greater than or equal to 1"),
        ({"limit": True}, ConfigError, "limit: eval.limit: must be a valid integer"),
    ],
)
def test_a_name_or_number_that_cannot_be_meant_is_refused(
    two: tuple[Path, Path], options: dict[str, Any], error: type[Exception], message: str
) -> None:
    with pytest.raises(error, match=message):
        leaderboards.evaluate(two[0], world="micro", **options)
    assert not Path("runs").exists()


def test_nothing_to_evaluate_is_an_error() -> None:
    with pytest.raises(ConfigError, match="nothing to evaluate"):
        leaderboards.evaluate([])


def test_one_or_several_as_texts_or_paths(
    world_files: Path, config: RunConfig, two: tuple[Path, Path], engines: dict[str, list[ScriptedEngine]]
) -> None:
    one = leaderboards.evaluate(two[0], config=config, world="micro", benchmarks="quality", output="here")
    assert [(r.checkpoint, r.benchmark) for r in one.results] == [("good", "micro-quality@1")]
    assert one.root == Path("here")
    both = leaderboards.evaluate(
        [str(two[0]), two[1]], config=config, world="micro", benchmarks=["quality"], output=Path("here")
    )
    assert [r.checkpoint for r in both.results] == ["good", "poor"]
    assert both.results[0] == one.results[0]


def test_a_file_of_prices_can_be_named(two: tuple[Path, Path]) -> None:
    Path("prices.yaml").write_text("models: {m: {prompt: 1, completion: 2}}\n")
    session = leaderboards.session.prepare(parse_candidates([str(two[0])]), prices="prices.yaml", world="micro")
    assert session.asked.services.budget is not None
    assert session.asked.services.budget.prices == load_prices(Path("prices.yaml"))
    with pytest.raises(ConfigError, match=r"Cannot read none\.yaml"):
        leaderboards.evaluate(two[0], prices=Path("none.yaml"), world="micro")


@pytest.mark.slow
def test_the_package_imports_neither_torch_nor_pandas() -> None:
    script = (
        "import sys, leaderboards, leaderboards.session; from leaderboards import evaluate, Evaluation;"
        "print([m for m in ('torch', 'pandas', 'transformers', 'lm_eval', 'alpaca_eval', 'trl', 'openai', 'httpx')"
        " if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
