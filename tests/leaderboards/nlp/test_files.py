"""Finished lm-eval outputs, as lm-eval itself writes them."""

from __future__ import annotations

import gzip
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
from selfreward_bench.stats import mean_interval
from selfreward_bench.types import Metric, MetricInfo


def tasks() -> list[Any]:
    """Objects of lm-eval: two subjects of MMLU, and one that is written and has two filters."""
    from leaderboards.nlp.sources import Documents
    from leaderboards.nlp.tasks import local_task, micro_tasks

    written = next(t for t in micro_tasks() if t.name == "micro_fact")
    choice = next(t for t in micro_tasks() if t.name == "micro_choice")
    found = []
    for name, n in (("mmlu_anatomy", 4), ("mmlu_astronomy", 2)):
        docs = [{"question": f"{name} {i}", "choices": ["one", "two"], "answer": i % 2} for i in range(n)]
        task = NlpTask(name, "mmlu", "acc,none", {**choice.config, "task": name})
        found.append(local_task(task, Documents(tuple(docs))))
    docs = [{"question": f"What {i}?", "answer": "grey"} for i in range(3)]
    named = NlpTask("gsm8k_cot", "gsm8k_cot", written.main, {**written.config, "task": "gsm8k_cot"})
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
        "group_subtasks": {"mmlu": ["mmlu_anatomy", "mmlu_astronomy"]},
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
    assert found["mmlu/astronomy"] == 0.5
    assert found["gsm8k_cot"] == pytest.approx(1 / 3)
    assert found["gsm8k_cot/flexible-extract"] == pytest.approx(2 / 3)
    assert found["gsm8k_cot/no_answer"] == pytest.approx(1 / 3)  # "It may be grey." has not the strict form
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
    metric = outcome.metrics["gsm8k_cot"]
    assert metric.value == pytest.approx(told["exact_match,strict-match"])
    assert metric == mean_interval([1, 0, 0], bounds=(0, 1))  # rights and wrongs, whatever its standard error
    assert outcome.metrics["mmlu/astronomy"].n_total == 2
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
        (f'{{"results": {{"a": {{"acc,none": {10**400}}}}}}}', "no numbers"),
        ('{"results": {"a": {"acc,none": 50.0}}}', "'acc,none' of 'a' is 50, and .* Write percentages as shares"),
        ('{"results": {"a": {"acc_norm": -0.1}}}', "'acc_norm,none' of 'a' is -0.1"),
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


# --- what other versions, and other people, leave


DATE = "2025-01-02T03-04-05.678901"


def lm_eval_folder(
    folder: Path,
    numbers: dict[str, dict[str, Any]],
    samples: dict[str, list[dict[str, Any]]] | None = None,
    name: str = f"results_{DATE}.json",
    **more: Any,
) -> Path:
    """A results file, and samples beside it, in the layout of 0.4.7 and later."""
    folder.mkdir(parents=True, exist_ok=True)
    content = {"results": numbers, "configs": {t: {"task": t} for t in numbers}, "versions": dict.fromkeys(numbers, 1)}
    (folder / name).write_text(json.dumps(content | more))
    for task, rows in (samples or {}).items():
        (folder / f"samples_{task}_{DATE}.jsonl").write_text("".join(json.dumps(r) + "\n" for r in rows))
    return folder


def logged(scores: list[Any], metric: str = "acc", chosen: str = "none") -> list[dict[str, Any]]:
    return [
        {"doc_id": i, "doc_hash": f"h{i}", "target": "1", "filter": chosen, "metrics": [metric], metric: score}
        for i, score in enumerate(scores)
    ]


def unnamed(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """As lm-eval before 0.4.7 logs them."""
    return [{key: v for key, v in row.items() if key not in ("filter", "metrics")} for row in rows]


def values(outcome: Outcome) -> dict[str, float | None]:
    return {k: m.value for k, m in (summarise(outcome.rows) | dict(outcome.metrics)).items()}


def test_what_only_begins_like_a_task_is_not_that_task(tmp_path: Path) -> None:
    members = {"mmlu_pro": ["mmlu_pro_math", "mmlu_pro_law"], "mmlu": ["mmlu_stem"], "mmlu_stem": ["mmlu_anatomy"]}
    numbers: dict[str, dict[str, Any]] = {
        "mmlu": {"acc,none": 1.0},
        "mmlu_stem": {"acc,none": 1.0},
        "mmlu_anatomy": {"acc,none": 1.0},
        "mmlu_pro": {"exact_match,custom-extract": 0.25},
        "mmlu_pro_math": {"exact_match,custom-extract": 0.0},
        "mmlu_pro_law": {"exact_match,custom-extract": 1.0},
        "gsm8k_cot": {"exact_match,strict-match": 1.0, "exact_match,flexible-extract": 0.0},
    }
    samples = {
        "mmlu_anatomy": logged([1, 1]),
        "mmlu_pro_math": logged([0, 0, 0], "exact_match", "custom-extract"),
        "mmlu_pro_law": logged([1], "exact_match", "custom-extract"),
        "gsm8k_cot": logged([1], "exact_match", "strict-match") + logged([0], "exact_match", "flexible-extract"),
    }
    outcome = scored(lm_eval_folder(tmp_path / "in", numbers, samples, group_subtasks=members), tmp_path)
    found = values(outcome)
    assert (found["mmlu"], found["mmlu_pro"], found["gsm8k_cot"]) == (1.0, 0.25, 1.0)  # lm-eval's own: over documents
    assert (found["mmlu_pro/law"], found["gsm8k_cot/flexible-extract"]) == (1.0, 0.0)
    assert "gsm8k" not in found
    assert outcome.shown["mmlu_pro"].label == "mmlu_pro (exact_match, custom-extract)"
    assert outcome.shown["gsm8k_cot"].unit == "share"
    assert any(note.startswith("mmlu: 1 of its 57 subjects") for note in outcome.notes)
    assert "average: the mean of mmlu, mmlu_pro, gsm8k_cot" in outcome.notes


def test_of_a_group_without_samples_lm_evals_own_number_is_told(tmp_path: Path) -> None:
    numbers = {
        "mmlu": {"acc,none": 0.61, "acc_stderr,none": 0.01},
        "mmlu_anatomy": {"acc,none": 0.5, "acc_stderr,none": 0.03},
        "mmlu_virology": {"acc,none": 0.7, "acc_stderr,none": 0.04},
        "odd": {"acc,none": 0.9},
        "odd_one": {"acc,none": 0.1},
        "odd_two": {"acc,none": 0.2},
    }
    found = scored(lm_eval_folder(tmp_path / "in", numbers, groups={"mmlu": {}, "odd": {}}), tmp_path).metrics
    assert found["mmlu"].value == pytest.approx(0.6)
    assert found["mmlu"].high == pytest.approx(0.6 + 1.96 * 0.025)
    assert found["mmlu_micro"].value == 0.61
    assert found["mmlu_micro"].low == pytest.approx(0.61 - 1.96 * 0.01)
    assert (found["odd"].value, found["odd"].low) == (0.9, None)  # no mean of its tasks, so it stands as it is
    assert found["odd/two"].value == 0.2


@pytest.mark.parametrize("as_list", [True, False])
def test_samples_that_name_neither_filter_nor_metrics(tmp_path: Path, *, as_list: bool) -> None:
    """0.4.0 to 0.4.2 wrote a JSON list into a .jsonl, 0.4.3 to 0.4.6 lines: one per document, filter after filter."""
    strict, flexible = logged([1, 0, 0], "exact_match"), logged([1, 1, 0], "exact_match")
    told = {"gsm8k": {"exact_match,flexible-extract": 2 / 3, "exact_match,strict-match": 1 / 3}}
    folder = lm_eval_folder(tmp_path / "in", told, name="results.json" if as_list else f"results_{DATE}.json")
    rows = unnamed([*strict, *flexible])
    if as_list:
        (folder / "pretrained=__m_gsm8k.jsonl").write_text(json.dumps(rows, indent=2))
    else:
        (folder / f"samples_gsm8k_{DATE}.jsonl").write_text("".join(json.dumps(r) + "\n" for r in rows))
    outcome = scored(folder, tmp_path)
    assert values(outcome)["gsm8k"] == pytest.approx(1 / 3)
    assert values(outcome)["gsm8k/flexible-extract"] == pytest.approx(2 / 3)
    assert [r.value for r in outcome.rows] == [1, 0, 0]  # told apart by lm-eval's numbers
    assert any("names neither filter nor metrics" in note and "taken" in note for note in outcome.notes)


def test_samples_that_do_not_bear_out_the_summary_are_left_out(tmp_path: Path) -> None:
    told = {"arc_easy": {"acc,none": 0.25, "acc_norm,none": 0.5}}
    n = {"n-samples": {"arc_easy": {"effective": 4}}}
    outcome = scored(lm_eval_folder(tmp_path / "in", told, {"arc_easy": unnamed(logged([1, 1, 0, 0]))}, **n), tmp_path)
    assert outcome.rows == []
    assert outcome.metrics["arc_easy"].value == 0.5
    assert outcome.metrics["arc_easy"] == mean_interval([1, 1, 0, 0], bounds=(0, 1))
    assert any("left out" in note for note in outcome.notes)


def test_samples_that_the_summary_cannot_be_of_are_left_out(tmp_path: Path) -> None:
    """Cut off at the end of a line, or of another run: their means would stand beside lm-eval's number."""
    n = {"n-samples": {"arc_easy": {"effective": 6}}}
    told = {"arc_easy": {"acc_norm,none": 0.5}}
    rows = {"arc_easy": logged([1, 1, 0], "acc_norm")}
    outcome = scored(lm_eval_folder(tmp_path / "in", told, rows, **n), tmp_path)
    assert outcome.rows == []
    assert outcome.metrics["arc_easy"] == mean_interval([1, 1, 1, 0, 0, 0], bounds=(0, 1))
    (note,) = outcome.notes
    assert note.startswith("arc_easy: its samples (3) come to 0.6667 and lm_eval's number is 0.5000")
    told["arc_easy"]["acc_norm,none"] = 0.6667  # rounded by somebody: the same samples
    assert len(scored(lm_eval_folder(tmp_path / "rounded", told, rows, **n), tmp_path).rows) == 3


def test_tasks_of_like_names_are_not_taken_together(tmp_path: Path) -> None:
    told = {name: {"acc,none": k / 10} for k, name in enumerate(["a/b", "a_b", "", "x" * 200, "x" * 200 + "y"], 1)}
    found = values(scored(lm_eval_folder(tmp_path / "in", told), tmp_path))
    assert found == {"a_b": 0.1, "a_b~2": 0.2, "unnamed": 0.3, "x" * 150: 0.4, f"{'x' * 150}~2": 0.5}


def test_numbers_that_no_file_has_end_nothing(tmp_path: Path) -> None:
    told: dict[str, dict[str, Any]] = {"arc_easy": {"acc_norm,none": 0.5}, "toy": {"acc,none": 10**400}}
    n = {"n-samples": {"arc_easy": {"effective": 10**30}}}
    outcome = scored(lm_eval_folder(tmp_path / "in", told, **n), tmp_path)
    assert outcome.metrics["arc_easy"].value == 0.5
    assert outcome.metrics["toy"].value is None


def test_before_0_4_there_were_no_filters(tmp_path: Path) -> None:
    told = {
        "arc_easy": {"acc": 0.5, "acc_stderr": 0.25, "acc_norm": 0.25, "acc_norm_stderr": 0.2},
        "hendrycksTest-anatomy": {"acc": 0.4, "acc_stderr": 0.1, "acc_norm": 0.3, "acc_norm_stderr": 0.1},
        "gsm8k": {"acc": 0.25},
        "wikitext": {"word_perplexity": 12.5},
    }
    folder = lm_eval_folder(tmp_path / "in", told, name="mine.json", config={"model": "hf", "num_fewshot": 5})
    rows = [
        {"doc_id": i, "prompt_0": "Q", "truth": 0, "acc": str(i < 2), "acc_norm": str(float(i < 1))} for i in range(4)
    ]
    (folder / "arc_easy_write_out_info.json").write_text(json.dumps(rows))
    outcome = scored(folder, tmp_path)
    found = values(outcome)
    assert (found["arc_easy"], found["arc_easy/acc"]) == (0.25, 0.5)
    assert (found["mmlu"], found["mmlu/anatomy"]) == (0.4, 0.4)
    assert found["gsm8k_acc"] == 0.25  # another number than the profile's
    assert outcome.shown["wikitext"] == MetricInfo(label="wikitext (word_perplexity)", unit="points", better=-1)
    assert "arc_easy 5" in outcome.comparability["parameters"]
    assert len(outcome.rows) == 4


def test_a_number_that_is_none_is_told(tmp_path: Path) -> None:
    told = {"arc_easy": {"acc_norm,none": 0.5}, "piqa": {"acc_norm,none": float("nan")}}
    samples = {"arc_easy": logged([1, 0], "acc_norm"), "piqa": logged([1, float("nan")], "acc_norm")}
    outcome = scored(lm_eval_folder(tmp_path / "in", told, samples), tmp_path)
    assert outcome.metrics["piqa"] == Metric(value=None, n_scored=0, n_total=2)
    assert values(outcome)["arc_easy"] == 0.5
    assert "average" not in values(outcome)
    assert [n.partition(":")[0] for n in outcome.notes] == ["piqa", "there is no average, as piqa has no number"]


def test_numbers_written_as_texts_are_read_and_what_is_none_is_told(tmp_path: Path) -> None:
    """lm-eval writes numbers of numpy that JSON does not know as texts, and 999 for what it did not score."""
    results = {
        "arc_easy": {"alias": "arc_easy", "acc,none": "0.5", "acc_norm,none": "0.25", "acc_norm_stderr,none": "N/A"},
        "squadv2": {"exact,none": "N/A", "f1,none": 33.5},
        "boolq": {"acc,none": "N/A"},
        "piqa": {"bypass,none": 999, "bypass_stderr,none": "N/A"},
    }
    outcome = scored(lm_eval_folder(tmp_path / "a", results), tmp_path)
    assert values(outcome)["arc_easy"] == 0.25
    assert values(outcome)["squadv2"] == 33.5
    for task in ("boolq", "piqa"):
        assert any(note.startswith(f"{task}: lm_eval gives no number") for note in outcome.notes)


def test_all_numbers_of_a_task_that_nobody_knows_are_named(tmp_path: Path) -> None:
    results = {
        "lambada": {"perplexity,none": 4.1, "acc,none": 0.6, "acc_stderr,none": 0.3},
        "arc_easy": {"acc,none": 0.5},
    }
    outcome = scored(lm_eval_folder(tmp_path / "a", results), tmp_path)
    assert outcome.metrics["lambada/acc"].value == 0.6
    assert outcome.metrics["lambada/acc"].high == 1.0  # no share is more, whatever its standard error
    assert outcome.shown["lambada/acc"].label == "lambada (acc)"
    assert outcome.shown["lambada/acc"].unit == "share"
    assert {name for name in outcome.shown if "/" in name} == {"lambada/acc"}


def test_another_number_is_not_called_by_the_profiles_name(tmp_path: Path) -> None:
    outcome = scored(lm_eval_folder(tmp_path / "in", {"arc_easy": {"acc,none": 0.5}}), tmp_path)
    assert set(outcome.metrics) == {"arc_easy_acc"}
    assert outcome.shown["arc_easy_acc"].label == "arc_easy (acc)"


def test_a_results_file_of_any_name_gzipped_too(tmp_path: Path) -> None:
    """``--output_path mine.json`` makes ``mine_DATE.json``, with the samples beside it."""
    folder = lm_eval_folder(
        tmp_path / "in", {"toy": {"acc,none": 0.5}}, {"toy": logged([1, 0])}, name=f"mine_{DATE}.json"
    )
    for file in list(folder.iterdir()):
        (folder / f"{file.name}.gz").write_bytes(gzip.compress(file.read_bytes()))
        file.unlink()
    assert values(scored(folder, tmp_path))["toy"] == 0.5
    assert len(scored(folder / f"mine_{DATE}.json.gz", tmp_path).rows) == 2


def test_what_was_asked_does_not_depend_on_where_it_lay_or_who_asked(tmp_path: Path) -> None:
    def asked(name: str, prompt: str, **config: Any) -> str:
        task = {
            "task": "toy",
            "dataset_path": "json",
            "doc_to_text": prompt,
            "dataset_kwargs": {"data_files": {"test": f"/home/{name}/toy.jsonl"}},
            "process_docs": f"functools.partial(<function keep at 0x7f{len(name)}94578d1af0>, subject='x')",
            "metadata": {"version": 1.0, "pretrained": f"/models/{name}", "config_source": f"/{name}/toy.yaml"},
        } | config
        folder = lm_eval_folder(
            tmp_path / name, {"toy": {"acc,none": 0.5}}, {"toy": logged([1, 0])}, configs={"toy": task}
        )
        return scored(folder, tmp_path).comparability["prompt"]

    base = asked("base", "Q: {{q}}")
    assert asked("second", "Q: {{q}}") == base
    assert asked("third", "Question: {{q}}") != base
    assert asked("fourth", "Q: {{q}}", num_fewshot=5) != base
    assert asked("fifth", "Q: {{q}}", dataset_path="other/data") != base


def test_the_first_leaderboards_names_of_tasks(tmp_path: Path) -> None:
    """Its files, and lighteval's, were made with other names of the same tasks, and averages between them."""
    told: dict[str, dict[str, Any]] = {
        "all": {"acc": 0.1, "acc_norm": 0.1},
        "harness|arc:challenge|25": {"acc": 0.53, "acc_norm": 0.58, "acc_norm_stderr": 0.01},
        "harness|hendrycksTest-anatomy|5": {"acc": 0.45, "acc_norm": 0.4},
        "leaderboard|mmlu:virology|5|0": {"acc": 0.55},
        "leaderboard|mmlu:_average|5": {"acc": 0.9},
    }
    outcome = scored(lm_eval_folder(tmp_path / "in", told, versions={"harness|arc:challenge|25": 7}), tmp_path)
    found = values(outcome)
    assert found["arc_challenge"] == 0.58
    assert (found["mmlu"], found["mmlu/anatomy"], found["mmlu/virology"]) == (0.5, 0.45, 0.55)
    assert not {name for name in found if "|" in name or name.startswith(("all", "mmlu__"))}
    assert "arc_challenge 25" in outcome.comparability["parameters"]


def test_a_group_that_lists_no_tasks_is_part_of_the_group_it_is_called_after(tmp_path: Path) -> None:
    """0.4.0 names groups and not what is in them: ``mmlu_stem`` is no task, nor does it count in the average."""
    told = {
        "mmlu": {"acc,none": 0.5},
        "mmlu_stem": {"acc,none": 0.5},
        "mmlu_anatomy": {"acc,none": 0.5},
        "arc_easy": {"acc_norm,none": 1.0},
    }
    samples = {"mmlu_anatomy": logged([1, 0]), "arc_easy": logged([1, 1], "acc_norm")}
    folder = lm_eval_folder(tmp_path / "in", told, samples, groups={"mmlu": {}, "mmlu_stem": {}})
    found = values(scored(folder, tmp_path))
    assert "mmlu_stem" not in found
    assert found["average"] == 0.75


@pytest.mark.parametrize(
    ("metric", "value", "documents"),
    [
        ("word_perplexity", 12.5, [[-5.0, 3], [-6.0, 2]]),  # for lm-eval's own aggregation
        ("likelihood_diff", 3.2, None),
        ("f1", 60.0, None),
    ],
)
def test_what_can_be_more_than_1_is_no_share(tmp_path: Path, metric: str, value: float, documents: Any) -> None:
    samples = {"toy": logged(documents, metric)} if documents else None
    outcome = scored(lm_eval_folder(tmp_path / "in", {"toy": {f"{metric},none": value}}, samples), tmp_path)
    assert outcome.metrics["toy"].value == value
    assert outcome.shown["toy"].unit == "points"


@pytest.mark.parametrize("damage", [{"arguments": [None]}, {"metrics": [["acc"]]}, {"metrics": ["acc", {}]}])
def test_samples_of_another_form_are_left_out_and_told(tmp_path: Path, damage: dict[str, Any]) -> None:
    rows = logged([1, 0])
    rows[1] |= damage
    folder = lm_eval_folder(tmp_path / "in", {"arc_easy": {"acc,none": 0.5}}, {"arc_easy": rows})
    outcome = scored(folder, tmp_path)
    assert values(outcome) == {"arc_easy_acc": 0.5}
    assert any("arc_easy: the samples are not as lm_eval writes them" in note for note in outcome.notes)


@pytest.mark.parametrize("value", ["NaN", "Infinity", "1e999"])
def test_settings_that_are_no_numbers_do_not_end_it(tmp_path: Path, value: str) -> None:
    settings = f'"configs": {{"toy": {{"generation_kwargs": {{"top_k": {value}}}}}}}, "lm_eval_version": {value}'
    (tmp_path / "results_x.json").write_text(f'{{"results": {{"toy": {{"acc,none": 0.5}}}}, {settings}}}')
    assert values(nlp_files.outcome(tmp_path)) == {"toy": 0.5}
