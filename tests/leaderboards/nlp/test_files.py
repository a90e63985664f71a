"""Finished lm-eval outputs, as lm-eval itself writes them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from leaderboards.base import Finished, Outcome, Setting, Subject, summarise
from leaderboards.nlp import files as nlp_files
from leaderboards.nlp.benchmark import Nlp
from leaderboards.nlp.tasks import NlpTask
from selfreward_bench.config import RunConfig
from selfreward_bench.errors import DataError


def tasks() -> list[Any]:
    """Objects of lm-eval: two subjects of MMLU, and one that is written and has two filters."""
    from leaderboards.nlp.sources import Documents
    from leaderboards.nlp.tasks import local_task, micro_tasks

    written = next(t for t in micro_tasks() if t.name == "micro_fact")
    choice = next(t for t in micro_tasks() if t.name == "micro_choice")
    found = []
    for name, n in (("mmlu_anatomy", 4), ("mmlu_law", 2)):
        docs = [{"question": f"{name} {i}", "choices": ["one", "two"], "answer": i % 2} for i in range(n)]
        task = NlpTask(name, "mmlu", "acc,none", {**choice.config, "task": name})
        found.append(local_task(task, Documents(tuple(docs))))
    docs = [{"question": f"What {i}?", "answer": "grey"} for i in range(3)]
    named = NlpTask("gsm8k_cot", "gsm8k", written.main, {**written.config, "task": "gsm8k_cot"})
    return [*found, local_task(named, Documents(tuple(docs)))]


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What lm-eval's own writer leaves."""
    from lm_eval.api.model import LM
    from lm_eval.evaluator import evaluate
    from lm_eval.loggers import EvaluationTracker

    from leaderboards.nlp.model import quiet

    class Scripted(LM):  # type: ignore[misc]  # lm_eval has no types
        def loglikelihood(self, requests: Any) -> list[tuple[float, bool]]:
            return [(-1.0 if r.args[1] == " one" else -2.0, False) for r in requests]

        def generate_until(self, requests: Any) -> list[str]:
            return [[" Grey.", " It may be grey.", " No."][i] for i, _ in enumerate(requests)]

        def loglikelihood_rolling(self, requests: Any) -> list[float]:
            raise NotImplementedError

    root = tmp_path_factory.mktemp("lm-eval")
    with quiet():
        found = evaluate(
            lm=Scripted(), task_dict={"tasks": {t.task_name: t for t in tasks()}, "groups": {}}, bootstrap_iters=10
        )
    found |= {
        "lm_eval_version": "0.4.13",
        "chat_template": None,
        "group_subtasks": {"mmlu": ["mmlu_anatomy", "mmlu_law"]},
    }
    found["results"]["mmlu"] = {"acc,none": 0.5, "alias": "mmlu"}
    samples = found.pop("samples")
    tracker = EvaluationTracker(output_path=str(root))
    tracker.general_config_tracker.model_name_sanitized = "model"
    tracker.save_results_aggregated(results=found, samples=samples)
    for name, rows in samples.items():
        tracker.save_results_samples(task_name=name, samples=rows)
    return root / "model"


def scored(path: Path, tmp_path: Path) -> Outcome:
    kind = Nlp().recognise(path)
    assert kind == "lm-eval-results"
    asked = Setting(RunConfig(), finished=Finished(kind, path))
    assert Nlp().plan(asked).units == 0

    def no_engine() -> Any:
        raise AssertionError("finished files need no model")

    return Nlp().run(Subject("theirs", no_engine, asked, tmp_path, lambda n: None))


def test_numbers_and_rows_come_from_the_files(written: Path, tmp_path: Path) -> None:
    outcome = scored(written, tmp_path)
    found = {k: m.value for k, m in (summarise(outcome.rows) | dict(outcome.metrics)).items()}
    assert found["mmlu"] == 0.5
    assert found["mmlu_micro"] == 0.5
    assert found["mmlu/law"] == 0.5
    assert found["gsm8k"] == pytest.approx(1 / 3)
    assert found["gsm8k/flexible-extract"] == pytest.approx(2 / 3)
    assert found["gsm8k/no_answer"] == pytest.approx(1 / 3)  # "It may be grey." has not the strict form
    assert found["average"] == pytest.approx((0.5 + 1 / 3) / 2)
    assert "truncated_prompts" not in found
    assert len(outcome.rows) == 9
    choice = next(r for r in outcome.rows if r.sample_id.startswith("mmlu_anatomy/"))
    assert choice.detail["answer"] == "one"
    assert choice.detail["prompt"].startswith("Task: mmlu_anatomy")
    assert choice.value == float(choice.detail["target"] == "one")
    assert outcome.comparability["profile"] == "lm-eval-results"
    assert "no chat template" in outcome.comparability["parameters"]


def test_without_samples_there_are_lm_evals_numbers_and_standard_errors(written: Path, tmp_path: Path) -> None:
    (results,) = written.glob("results_*.json")
    alone = tmp_path / results.name
    alone.write_bytes(results.read_bytes())
    outcome = scored(alone, tmp_path)
    assert outcome.rows == []
    told = json.loads(results.read_bytes())["results"]["gsm8k_cot"]
    metric = outcome.metrics["gsm8k"]
    assert metric.value == pytest.approx(told["exact_match,strict-match"])
    assert metric.high == pytest.approx(metric.value + 1.96 * told["exact_match_stderr,strict-match"])  # type: ignore[operator]
    assert metric.n_scored == 3
    assert outcome.metrics["mmlu/law"].n_total == 2
    assert "average" not in outcome.metrics


def test_the_files_are_the_identity(written: Path, tmp_path: Path) -> None:
    for file in written.iterdir():
        (tmp_path / file.name).write_bytes(file.read_bytes())
    before = nlp_files.identity(tmp_path)
    assert before == nlp_files.identity(written)
    with next(tmp_path.glob("samples_*")).open("a") as stream:
        stream.write("\n")
    assert nlp_files.identity(tmp_path) != before


def test_what_is_not_recognised(tmp_path: Path) -> None:
    assert Nlp().recognise(tmp_path) is None
    assert Nlp().recognise(tmp_path / "results_x.json") is None
    (tmp_path / "outputs.json").write_text("[]")
    assert Nlp().recognise(tmp_path / "outputs.json") is None


def test_the_folder_that_lm_eval_was_told_to_write_to(written: Path, tmp_path: Path) -> None:
    """``--output_path``: lm-eval makes a folder for the model in it."""
    assert nlp_files.identity(written.parent) == nlp_files.identity(written)
    assert scored(written.parent, tmp_path).rows == scored(written, tmp_path).rows


def test_of_several_results_one_must_be_named(tmp_path: Path) -> None:
    (tmp_path / "model").mkdir()
    for name in ("results_a.json", "results_b.json"):
        (tmp_path / "model" / name).write_text("{}")
    assert Nlp().recognise(tmp_path / "model" / "results_a.json") == "lm-eval-results"
    for folder, listed in ((tmp_path, "model/results_a.json, model/"), (tmp_path / "model", "results_a.json, ")):
        assert Nlp().recognise(folder) == "lm-eval-results"
        with pytest.raises(DataError, match=f"holds 2 finished .* Name one .* Here: {listed}results_b.json"):
            nlp_files.outcome(folder)


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        ("", "not valid JSON"),
        ("[" * 100_000, "not valid JSON"),
        ("[]", "no 'results'"),
        ('{"results": {}}', "no numbers"),
        ('{"results": {"a": {"alias": "a", "acc_stderr,none": 1, "acc,none": "N/A"}}, "configs": 3}', "no numbers"),
        ('{"results": {"a": {"acc,none": NaN}}}', "no numbers"),
    ],
)
def test_files_that_cannot_be_used(tmp_path: Path, content: str, problem: str) -> None:
    file = tmp_path / "results_x.json"
    file.write_text(content)
    with pytest.raises(DataError, match=problem):
        nlp_files.outcome(file)


def test_a_torn_samples_file_is_named(written: Path, tmp_path: Path) -> None:
    for file in written.iterdir():
        (tmp_path / file.name).write_bytes(file.read_bytes())
    torn = next(tmp_path.glob("samples_gsm8k*"))
    torn.write_bytes(torn.read_bytes()[:-20])
    with pytest.raises(DataError, match=rf"{torn.name}:\d+ is not valid JSON"):
        nlp_files.outcome(tmp_path)
