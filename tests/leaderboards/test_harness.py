"""Evaluation once per weights and settings, resumed where it stopped."""

from __future__ import annotations

import random
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import pytest

from leaderboards import standings
from leaderboards.base import JudgeRole, Setting
from leaderboards.harness import evaluate_checkpoint, evaluate_model
from leaderboards.metrics import BUILT_IN
from leaderboards.models import Model, fingerprint_of
from leaderboards.registry import THIN, open_benchmark
from selfreward_bench.config import RunConfig
from selfreward_bench.engines.base import GenerationRequest
from selfreward_bench.engines.scripted import ScriptedEngine
from selfreward_bench.engines.templates import Chosen
from selfreward_bench.errors import DataError, EngineError, UnknownNameError
from selfreward_bench.progress import Silent
from selfreward_bench.storage import jsonl
from selfreward_bench.storage.model_files import weights_in
from selfreward_bench.types import Completion, EvalResult, Prompt, RankedPrompt, SampleScore

QUALITY = "micro-quality@1"
N_PROMPTS = 24

Skilled = Callable[..., ScriptedEngine]


@pytest.fixture
def evaluate(world_files: Path, config: RunConfig, tmp_path: Path) -> Callable[..., list[EvalResult]]:
    def run(checkpoint_dir: Path, engine: ScriptedEngine, name: str = "M1", **options: object) -> list[EvalResult]:
        arguments = {"name": name, "config": config, "out_dir": tmp_path / "run" / name / "eval", **options}
        return evaluate_checkpoint(checkpoint_dir, engine=engine, **arguments)  # type: ignore[arg-type]

    return run


Evaluate = Callable[..., list[EvalResult]]
Checkpoint = Callable[..., Path]


def test_every_benchmark_leaves_its_files(
    evaluate: Evaluate, checkpoint: Checkpoint, tmp_path: Path, skilled: Skilled
) -> None:
    results = evaluate(checkpoint(), skilled(0.7))
    assert [r.benchmark for r in results] == [open_benchmark(b).key for b in THIN]
    for result in results:
        folder = tmp_path / "run/M1/eval" / result.benchmark
        assert standings.read_result(folder / "result.json") == result
        assert jsonl.read(folder / "scores.jsonl", SampleScore, unique=lambda r: r.sample_id)
        shown = BUILT_IN[result.benchmark].metrics
        assert shown.keys() <= result.metrics.keys()
    assert results[0].metrics["quality_sampled"].n_total == N_PROMPTS * 2
    assert len(jsonl.read(tmp_path / "run/M1/eval" / QUALITY / "answers.jsonl", Completion)) == N_PROMPTS * 2


def test_unchanged_weights_are_not_evaluated_twice(
    evaluate: Evaluate, checkpoint: Checkpoint, skilled: Skilled
) -> None:
    first = evaluate(checkpoint(), skilled(0.7))
    idle = skilled(0.1)
    assert evaluate(checkpoint(), idle) == first
    assert idle.requests == []


def test_changed_weights_are_evaluated_again(evaluate: Evaluate, checkpoint: Checkpoint, skilled: Skilled) -> None:
    first = evaluate(checkpoint(), skilled(1.0))
    second = evaluate(checkpoint(value=2.0), skilled(0.0))
    assert first[0].fingerprint != second[0].fingerprint
    assert first[0].metrics["exact_sampled"].value == 1
    assert second[0].metrics["exact_sampled"].value == 0


@pytest.mark.parametrize("file", ["config.json", "chat_template.jinja", "tokenizer.json", "generation_config.json"])
def test_changed_files_beside_the_weights_are_evaluated_again(
    evaluate: Evaluate, checkpoint: Checkpoint, skilled: Skilled, file: str
) -> None:
    path = checkpoint()
    first = evaluate(path, skilled(1.0))
    (path / file).write_text('{"rms_norm_eps": 0.5}')
    second = evaluate(path, skilled(0.0))
    assert [r.metrics["exact_sampled"].value for r in (first[0], second[0])] == [1, 0]
    (path / file).unlink()
    assert evaluate(path, idle := skilled(0.5)) == first  # put aside, and back again
    assert idle.requests == []


def test_results_of_versions_that_looked_at_weights_alone_are_told_and_kept(
    evaluate: Evaluate, checkpoint: Checkpoint, skilled: Skilled, tmp_path: Path
) -> None:
    (first, *_) = evaluate(checkpoint(), skilled(1.0))
    folder = tmp_path / "run/M1/eval" / QUALITY
    for name in ("start.json", "result.json"):
        file = folder / name
        file.write_text(file.read_text().replace(first.fingerprint, weights_in(first.fingerprint)))
    older, told = (folder / "answers.jsonl").read_bytes(), Recorder()
    (second, *_) = evaluate(checkpoint(), skilled(0.0), reporter=told)
    assert [m for m in told.messages if "older srbench" in m] == [m for m in told.messages if QUALITY in m]
    assert len([m for m in told.messages if "older srbench" in m]) == 1
    assert second.metrics["exact_sampled"].value == 0
    (kept,) = (tmp_path / "run/M1/eval/.other").glob(f"{QUALITY}-*")
    assert (kept / "answers.jsonl").read_bytes() == older


class Recorder(Silent):
    def __init__(self) -> None:
        self.messages: list[str] = []

    def message(self, text: str) -> None:
        self.messages.append(text)


def test_changed_settings_are_evaluated_again(
    evaluate: Evaluate, checkpoint: Checkpoint, config: RunConfig, skilled: Skilled
) -> None:
    evaluate(checkpoint(), skilled(1.0))
    longer = config.model_copy(update={"eval": config.eval.model_copy(update={"samples": 3})})
    results = evaluate(checkpoint(), skilled(1.0), config=longer)
    assert results[0].metrics["quality_sampled"].n_total == N_PROMPTS * 3
    said = results[0].settings
    assert (said["eval.samples"], said["seed"], said["engine.dtype"]) == ("3", str(config.seed), config.engine.dtype)
    assert said["eval.sampling.temperature"] == str(config.eval.sampling.temperature)


def test_the_validation_split_has_its_own_data_and_result(
    evaluate: Evaluate, checkpoint: Checkpoint, config: RunConfig, skilled: Skilled, world_files: Path
) -> None:
    test = evaluate(checkpoint(), skilled(1.0))
    few = jsonl.read(world_files / "test.jsonl", Prompt)[:7]
    jsonl.write(world_files / "validation.jsonl", few)
    jsonl.write(world_files / "rankings-validation.jsonl", jsonl.read(world_files / "rankings.jsonl", RankedPrompt)[:5])
    tuning = config.model_copy(update={"eval": config.eval.model_copy(update={"split": "validation"})})
    results = evaluate(checkpoint(), skilled(1.0), config=tuning)
    assert results[0].metrics["quality_greedy"].n_total == 7
    assert results[1].metrics["spearman"].n_total == 5
    assert not {r.config_hash for r in results} & {r.config_hash for r in test}


def test_a_damaged_result_is_made_again(
    evaluate: Evaluate, checkpoint: Checkpoint, tmp_path: Path, skilled: Skilled
) -> None:
    first = evaluate(checkpoint(), skilled(0.7))
    (tmp_path / "run/M1/eval" / QUALITY / "result.json").write_text('{"checkpoint": "M1", ')
    assert evaluate(checkpoint(), skilled(0.7))[0].metrics == first[0].metrics


class _Killed(Exception):
    """Stands for the end of the process."""


class _Mortal(ScriptedEngine):
    """Dies after some batches."""

    def __init__(self, healthy: ScriptedEngine, batches: int) -> None:
        super().__init__(healthy._texts, healthy._logprobs, batch_size=healthy.batch_size)
        self._left = batches

    def generate(self, requests: Sequence[GenerationRequest], done: object = ()) -> Iterator[list[Completion]]:
        for batch in super().generate(requests, done):  # type: ignore[arg-type]
            if not self._left:
                raise _Killed
            self._left -= 1
            yield batch


def test_an_interrupted_evaluation_goes_on(
    evaluate: Evaluate, checkpoint: Checkpoint, tmp_path: Path, skilled: Skilled
) -> None:
    undisturbed = evaluate(checkpoint(), skilled(0.7), name="M9")
    with pytest.raises(_Killed):
        evaluate(checkpoint(), _Mortal(skilled(0.7, batch_size=8), 2))
    with (tmp_path / "run/M1/eval" / QUALITY / "answers.jsonl").open("a") as file:
        file.write('{"prompt_id": "t-1", "ind')  # torn by the kill
    engine = skilled(0.7, batch_size=8)
    resumed = evaluate(checkpoint(), engine)
    assert [r.metrics for r in resumed] == [r.metrics for r in undisturbed]
    sampled = [r for r in engine.requests if isinstance(r, GenerationRequest) and r.n == 2]
    assert len(sampled) == N_PROMPTS - 16  # two batches of eight were kept


def test_records_of_other_weights_are_not_resumed(evaluate: Evaluate, checkpoint: Checkpoint, skilled: Skilled) -> None:
    with pytest.raises(_Killed):
        evaluate(checkpoint(value=1.0), _Mortal(skilled(0.0, batch_size=8), 2))
    result = evaluate(checkpoint(value=2.0), skilled(1.0))[0]
    assert result.metrics["exact_sampled"].value == 1


def test_shuffled_answers_give_the_same_result(
    evaluate: Evaluate, checkpoint: Checkpoint, tmp_path: Path, skilled: Skilled
) -> None:
    first = evaluate(checkpoint(), skilled(0.6))
    for folder, file in ((QUALITY, "answers.jsonl"), ("micro-judge-accuracy@1", "own-answers.jsonl")):
        path = tmp_path / "run/M1/eval" / folder / file
        answers = jsonl.read(path, Completion)
        jsonl.write(path, random.Random(5).sample(answers, len(answers)))
        (path.parent / "result.json").unlink()
    engine = skilled(0.0)
    again = evaluate(checkpoint(), engine)
    assert engine.requests == []
    assert [r.metrics for r in again] == [r.metrics for r in first]


def test_one_failing_benchmark_leaves_its_reason_and_the_other_result(
    evaluate: Evaluate, checkpoint: Checkpoint, tmp_path: Path, world_files: Path, skilled: Skilled
) -> None:
    (world_files / "rankings.jsonl").write_text("{}\n")
    with pytest.raises(DataError, match=r"rankings\.jsonl:1"):
        evaluate(checkpoint(), skilled(0.7))
    folder = tmp_path / "run/M1/eval"
    assert standings.read_result(folder / QUALITY / "result.json").metrics
    assert not (folder / "micro-judge-accuracy@1" / "result.json").exists()
    assert "rankings.jsonl:1" in standings.read_failure(folder / "micro-judge-accuracy@1" / "failure.json").message


def test_what_was_made_with_other_settings_is_put_aside_and_comes_back(
    evaluate: Evaluate, checkpoint: Checkpoint, config: RunConfig, tmp_path: Path, skilled: Skilled
) -> None:
    first = evaluate(checkpoint(), skilled(0.7))
    evals = tmp_path / "run/M1/eval"
    before = {p.relative_to(evals): p.read_bytes() for p in evals.rglob("*") if p.is_file()}
    few = config.model_copy(update={"eval": config.eval.model_copy(update={"limit": 3})})
    assert evaluate(checkpoint(), skilled(0.7), config=few)[0].metrics["quality_greedy"].n_total == 3
    aside = sorted(p.name.partition("-")[0] for p in (evals / ".other").iterdir())
    assert aside == ["micro", "micro"]
    assert standings.evaluated_models(tmp_path / "run") == ["M1"]
    idle = skilled(0.0)
    assert evaluate(checkpoint(), idle) == first
    assert idle.requests == []
    assert {p.relative_to(evals): p.read_bytes() for p in evals.glob("*@*/*")} == before
    assert evaluate(checkpoint(), idle, config=few)[0].metrics["quality_greedy"].n_total == 3
    assert idle.requests == []


def test_models_whose_fingerprints_begin_alike_are_put_aside_apart(
    world_files: Path, config: RunConfig, tmp_path: Path, skilled: Skilled
) -> None:
    setting = {"micro-quality": Setting(config)}
    found = [
        evaluate_model(Model("m", f"served-{i:024}", lambda i=i: skilled(i / 2)), setting, out_dir=tmp_path)  # type: ignore[misc]
        for i in range(3)
    ]
    again = [
        evaluate_model(Model("m", f"served-{i:024}", lambda: skilled(0.9)), setting, out_dir=tmp_path) for i in range(3)
    ]
    assert again == found
    assert len({r.metrics["exact_sampled"].value for (r,) in found}) == 3


class _Flaky(ScriptedEngine):
    """Fails at some prompts for a reason that may pass, and at one that refuses."""

    def __init__(self, healthy: ScriptedEngine, failing: dict[str, str]) -> None:
        super().__init__(healthy._texts, healthy._logprobs)
        self._failing = failing

    def generate(self, requests: Sequence[GenerationRequest], done: object = ()) -> Iterator[list[Completion]]:
        self.failures = {r.id: self._failing[r.id] for r in requests if r.id in self._failing}
        wanted = [r for r in requests if r.id not in self._failing]
        return super().generate(wanted, done)  # type: ignore[arg-type]


def test_what_failed_for_a_reason_that_may_pass_is_asked_for_again_and_nothing_else(
    evaluate: Evaluate, checkpoint: Checkpoint, skilled: Skilled
) -> None:
    only = {"benchmarks": ["micro-alpaca-eval"]}
    whole = evaluate(checkpoint("M9"), skilled(0.7), name="M9", **only)[0]
    flaky = _Flaky(skilled(0.7), {"t-1": "failed: HTTP 500", "t-2": "over_budget"})
    part = evaluate(checkpoint(), flaky, **only)[0]
    assert part.incomplete == 2
    assert (part.metrics["win_rate"].n_scored, part.metrics["win_rate"].n_total) == (N_PROMPTS - 2, N_PROMPTS)
    engine = skilled(0.7, batch_size=1)
    mended = evaluate(checkpoint(), engine, **only)[0]
    assert sorted(r.id for r in engine.requests) == ["t-1", "t-2"]
    assert (mended.incomplete, mended.metrics) == (0, whole.metrics)


def test_an_incomplete_result_stays_until_the_next_one_is_there(
    evaluate: Evaluate, checkpoint: Checkpoint, tmp_path: Path, skilled: Skilled
) -> None:
    class Cut(_Flaky):
        def generate(self, requests: Sequence[GenerationRequest], done: object = ()) -> Iterator[list[Completion]]:
            raise KeyboardInterrupt

    only = {"benchmarks": ["micro-alpaca-eval"]}
    evaluate(checkpoint(), _Flaky(skilled(0.7), {"t-1": "failed: HTTP 500"}), **only)
    file = tmp_path / "run/M1/eval/micro-alpaca-eval@1/result.json"
    before = standings.read_result(file)
    with pytest.raises(KeyboardInterrupt):
        evaluate(checkpoint(), Cut(skilled(0.7), {}), **only)
    assert (before.incomplete, standings.read_result(file)) == (1, before)
    assert evaluate(checkpoint(), skilled(0.7), **only)[0].incomplete == 0
    assert standings.read_result(file).incomplete == 0


def test_records_of_which_nothing_says_what_they_are_are_kept_aside(
    evaluate: Evaluate, checkpoint: Checkpoint, tmp_path: Path, skilled: Skilled
) -> None:
    for content in ("first", "second"):
        folder = tmp_path / "run/M1/eval/micro-alpaca-eval@1"
        folder.mkdir(parents=True)
        (folder / "answers.jsonl").write_text(content)
        evaluate(checkpoint(), skilled(0.7), benchmarks=["micro-alpaca-eval"])
        shutil.rmtree(folder)
    kept = sorted((tmp_path / "run/M1/eval/.other").glob("*-unknown-*/answers.jsonl"))
    assert [p.read_text() for p in kept] == ["first", "second"]


@pytest.mark.parametrize("settled", ["refused", "too_long"])
def test_what_asking_again_cannot_mend_is_unscored_and_not_asked_again(
    evaluate: Evaluate, checkpoint: Checkpoint, skilled: Skilled, settled: str
) -> None:
    only = {"benchmarks": ["micro-alpaca-eval"]}
    refusing = _Flaky(skilled(0.7), {"t-1": settled})
    first = evaluate(checkpoint(), refusing, **only)[0]
    assert (first.incomplete, first.metrics["win_rate"].n_scored) == (0, N_PROMPTS - 1)
    idle = skilled(0.7)
    assert evaluate(checkpoint(), idle, **only)[0] == first
    assert idle.requests == []


def test_all_failures_are_told_with_their_benchmark(
    evaluate: Evaluate, checkpoint: Checkpoint, tmp_path: Path, world_files: Path, skilled: Skilled
) -> None:
    (world_files / "test.jsonl").write_text("{}\n")  # both begin with it
    with pytest.raises(DataError, match=r"test\.jsonl:1") as error:
        evaluate(checkpoint(), skilled(0.7))
    notes = error.value.__notes__
    assert [n.partition(":")[0] for n in notes] == ["micro-quality@1", "micro-judge-accuracy@1"]
    assert all("test.jsonl:1" in n for n in notes)


def test_a_failure_is_forgotten_once_it_went_well(
    evaluate: Evaluate, checkpoint: Checkpoint, tmp_path: Path, world_files: Path, skilled: Skilled
) -> None:
    rankings = (world_files / "rankings.jsonl").read_bytes()
    first = evaluate(checkpoint(), skilled(0.7))
    (world_files / "rankings.jsonl").write_text("{}\n")
    with pytest.raises(DataError):
        evaluate(checkpoint(), skilled(0.7))
    folder = tmp_path / "run/M1/eval/micro-judge-accuracy@1"
    assert (folder / "failure.json").is_file()
    (world_files / "rankings.jsonl").write_bytes(rankings)
    idle = skilled(0.0)
    assert evaluate(checkpoint(), idle) == first
    assert idle.requests == []
    assert not (folder / "failure.json").exists()


def test_what_an_evaluation_cost_is_what_the_model_and_its_judge_cost(
    world_files: Path, config: RunConfig, tmp_path: Path, skilled: Skilled
) -> None:
    class Judge(ScriptedEngine):
        spent = 0.0

    engine, judge = skilled(0.7), Judge({"*": "x"})

    def opened() -> ScriptedEngine:
        judge.spent += 0.25  # as if it had been asked
        return engine

    def evaluated(name: str, role: JudgeRole) -> float:
        model = Model(name, name, opened, spent=lambda: len(engine.requests) * 0.5)
        (result,) = evaluate_model(model, {"micro-alpaca-eval": Setting(config, judge=role)}, out_dir=tmp_path / name)
        return result.cost

    assert evaluated("a", JudgeRole("oracle")) == N_PROMPTS * 0.5
    before = judge.spent
    with_judge = evaluated("b", JudgeRole("a-judge", judge))
    assert with_judge == N_PROMPTS * 0.5 + judge.spent - before
    assert evaluated("c", JudgeRole("self", judge)) == N_PROMPTS * 0.5


def test_the_cost_of_an_interrupted_call_is_kept(
    world_files: Path, config: RunConfig, tmp_path: Path, skilled: Skilled
) -> None:
    class Killed(Exception):
        pass

    class Listener(Silent):
        def advanced(self, amount: int = 1) -> None:
            if amount and len(engine.requests) >= left:
                raise Killed

    def evaluated() -> float:
        paid = len(engine.requests)
        model = Model("a", "a", lambda: engine, spent=lambda: (len(engine.requests) - paid) * 0.5)
        setting = {"micro-alpaca-eval": Setting(config, judge=JudgeRole("oracle"))}
        return evaluate_model(model, setting, out_dir=tmp_path, reporter=Listener())[0].cost

    engine, left = skilled(0.7, batch_size=1), 3
    with pytest.raises(Killed):
        evaluated()
    left = 10**6
    cost = evaluated()
    assert len(engine.requests) == N_PROMPTS
    assert cost == N_PROMPTS * 0.5


def test_the_engine_of_the_caller_stays_open_and_an_own_one_is_opened_once(
    evaluate: Evaluate, checkpoint: Checkpoint, monkeypatch: pytest.MonkeyPatch, skilled: Skilled
) -> None:
    lent = skilled(0.7)
    evaluate(checkpoint(), lent)
    lent.count_tokens("x")
    assert list(lent.generate([])) == []
    opened: list[ScriptedEngine] = []

    def open_engine(*_: object, **__: object) -> ScriptedEngine:
        opened.append(skilled(0.7))
        return opened[-1]

    monkeypatch.setattr("leaderboards.harness.open_engine", open_engine)
    evaluate(checkpoint("M2", 2.0), None, name="M2")
    assert len(opened) == 1
    with pytest.raises(EngineError, match="closed"):
        opened[0].generate([])
    evaluate(checkpoint("M2", 2.0), None, name="M2")
    assert len(opened) == 1  # nothing to do: no model is loaded


def test_unknown_benchmarks_are_refused(evaluate: Evaluate, checkpoint: Checkpoint, skilled: Skilled) -> None:
    with pytest.raises(UnknownNameError, match="Did you mean 'micro-quality'"):
        evaluate(checkpoint(), skilled(1), benchmarks=["micro-qualty"])


@pytest.mark.slow
def test_training_is_not_imported() -> None:
    heavy = "[m for m in sys.modules if m.split('.')[0] in ('trainers', 'torch')]"
    script = f"import sys, leaderboards.harness, leaderboards.judge_accuracy.micro; print({heavy})"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_a_result_belongs_to_the_chat_template_that_was_named(
    world_files: Path, config: RunConfig, checkpoint: Checkpoint, tmp_path: Path, skilled: Skilled
) -> None:
    """Where the model's own renders, or a plain one stands in for it, the key is what it was before there were any."""
    path, out = checkpoint(), tmp_path / "run/M1/eval"

    def key(chosen: Chosen | None) -> tuple[str, str, int]:
        engine = skilled(0.7)
        model = Model("M1", fingerprint_of(path), lambda: engine, chat_template=chosen)
        (result,) = evaluate_model(model, {"micro-quality": Setting(config, judge=JudgeRole("oracle"))}, out_dir=out)
        return result.config_hash, result.chat_template.partition("#")[0], len(engine.requests)

    own, standing_in = key(None), key(Chosen("plain", named=False))
    plain, tulu = key(Chosen("plain")), key(Chosen("fastchat:tulu"))
    trained = key(Chosen("fastchat:tulu", brought=True))
    assert [k[1] for k in (own, plain, tulu, trained)] == ["", "plain", "fastchat:tulu", "fastchat:tulu"]
    assert own[0] == standing_in[0]
    assert len({own[0], plain[0], tulu[0]}) == 3
    assert trained[0] == tulu[0]
    assert [bool(k[2]) for k in (own, standing_in, plain, tulu, trained)] == [True, False, True, True, False]
    assert key(None) == (own[0], "", 0)  # put aside, and back again
