"""The parts of the NLP benchmarks without a model: rows of the data files, the pinned profile, means of means."""

from __future__ import annotations

import json
import math
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy import stats as scipy_stats

from leaderboards.nlp import tasks as nlp_tasks
from leaderboards.nlp.combined import combine, stratified_mean
from leaderboards.nlp.scores import Leaf, TaskScores, sample_rows
from leaderboards.nlp.sources import SOURCES, micro_documents, read_documents
from leaderboards.nlp.tasks import TASKS, first_value_asked_for, micro_tasks, profile_tasks
from selfreward_bench.errors import ConfigError, DataError
from selfreward_bench.micro import oracle, world
from selfreward_bench.sources.directory import DataDir
from selfreward_bench.types import SampleScore

FORM = "Please choose the correct answer to the question: {}\n\nAnswer format: {}"


def write(root: Path, task: str, rows: Any) -> DataDir:
    path = root / SOURCES[task].scored.path.format("anatomy")
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(rows if isinstance(rows, str) else json.dumps(rows), "utf-8")
    return DataDir(root)


def row(text: str, labels: str = "answer1/answer2", answer: str = "answer1") -> dict[str, str]:
    return {"instruction": FORM.format(text, labels), "answer": answer}


# --- rows


def test_choices_are_taken_out_of_the_instruction(tmp_path: Path) -> None:
    text = "Which one:\nthis or Answer2?\n\nAnswer1:  a thing Answer2: Answer: x"
    data = write(tmp_path, "arc_easy", [row(text, answer="answer2")])
    (doc,) = read_documents(data, "arc_easy").scored
    assert doc == {
        "question": "Which one:\nthis or Answer2?",
        "choices": {"text": ["a thing", "Answer: x"], "label": ["A", "B"]},
        "answerKey": "B",
    }


@pytest.mark.parametrize(
    ("bad", "why"),
    [
        (row("Q?\n\nAnswer1: a Answer2: b Answer3: c"), "choices"),
        (row("Q?\n\nAnswer1: a Answer3: b"), "choices"),
        (row("Q?\n\nAnswer1: a Answer1: b"), "choices"),
        (row("Q?\n\nAnswer1: Answer2: b"), "empty"),
        (row("Q?\n\nAnswer1: a Answer2: b", answer="answer3"), "none of"),
        (row("Q?\n\nAnswer1: a Answer2: b", answer="Answer1"), "none of"),
        (row("Q? Answer1: a Answer2: b"), "known form"),
        ({"instruction": "What?", "answer": "answer1"}, "known form"),
        ({"answer": "answer1"}, "'instruction' is missing"),
        ({"instruction": 3, "answer": "answer1"}, "must be a text"),
        (row("Q\ud800?\n\nAnswer1: a Answer2: b"), "surrogates"),
        ("a text", ""),
        (None, ""),
    ],
)
def test_a_row_of_another_form_is_not_guessed_at(tmp_path: Path, bad: Any, why: str) -> None:
    good = row("Q?\n\nAnswer1: a Answer2: b")
    found = read_documents(write(tmp_path, "arc_easy", [good, bad, good]), "arc_easy")
    assert len(found.scored) == 2
    (named,) = found.unreadable
    assert named.place == "nlp/commonsense/ARC-Easy/test.json row 2"
    assert why in named.why


def test_lines_and_numbers_are_checked_too(tmp_path: Path) -> None:
    good = '{"question": "How many?", "answer": "Two.\\n#### 1,002"}'
    found = read_documents(
        write(tmp_path, "gsm8k", f'{good}\n{{"question"\n\n{{"question": "x", "answer": "2"}}\n'), "gsm8k"
    )
    assert [d["question"] for d in found.scored] == ["How many?"]
    assert [u.place for u in found.unreadable] == ["nlp/gsm8k/test.jsonl row 2", "nlp/gsm8k/test.jsonl row 3"]


def test_mmlu_rows(tmp_path: Path) -> None:
    header = "question,choice0,choice1,choice2,choice3,answer\n"
    for split in ("test", "dev"):
        path = tmp_path / f"nlp/mmlu/{split}/anatomy_{split}.csv"
        path.parent.mkdir(parents=True)
        path.write_text(header + f'"{split}, one?",a,b,c,"d ""e""",3\nQ?,a,b,c,d,4\nQ?,a,b,c,,1\nQ?,a,b,c,d,1,2\n')
    found = read_documents(DataDir(tmp_path), "mmlu", subject="anatomy")
    assert found.scored == ({"question": "test, one?", "choices": ["a", "b", "c", 'd "e"'], "answer": 3},)
    assert [u.place.rpartition(" ")[2] for u in found.unreadable] == ["2", "3", "4"]
    assert found.shots[0]["question"] == "dev, one?"


@pytest.mark.parametrize("content", ["", "[]", "{}", "not json", '[{"instruction": "?"}]', "[" * 100_000])
def test_a_file_without_a_readable_row_is_an_error(tmp_path: Path, content: str) -> None:
    with pytest.raises(DataError, match=r"test\.json"):
        read_documents(write(tmp_path, "arc_easy", content), "arc_easy")


def test_missing_data_name_the_command(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="srbench data pull nlp"):
        read_documents(DataDir(tmp_path), "piqa")


def test_no_worked_example_is_scored_whatever_the_limit(tmp_path: Path) -> None:
    questions = [row(f"Q{i}?\n\nAnswer1: a Answer2: b") for i in range(6)]
    data = write(tmp_path, "arc_challenge", questions[:4])
    train = tmp_path / "nlp/commonsense/ARC-Challenge/train.json"
    train.write_text(json.dumps([row("Q3?\n\nAnswer1: b Answer2: a"), *questions[4:]]), "utf-8")
    for limit in (None, 1):
        found = read_documents(data, "arc_challenge", limit=limit)
        assert [d["question"] for d in found.shots] == ["Q4?", "Q5?"]
        assert len(found.scored) == (limit or 4)


def test_micro_prompts_have_one_right_answer_and_are_of_the_split() -> None:
    for split in ("test", "validation"):
        for task in ("micro_sort", "micro_fact"):
            for doc in micro_documents(task, split).scored:  # type: ignore[arg-type]
                asked = world.parse(doc["question"])
                assert asked is not None
                assert world.split_of(asked) == split
                answer = doc["answer"] if task == "micro_sort" else doc["answer"].capitalize() + "."
                assert oracle.score(doc["question"], answer) in (4, 5)
    assert len({d["question"] for d in micro_documents("micro_sort", "test").scored}) == 128
    assert micro_documents("micro_choice", "test", 3).scored == micro_documents("micro_choice", "test").scored[:3]


# --- the profile


def test_the_profile_is_lm_evals_own_definitions() -> None:
    from lm_eval.tasks._yaml_loader import load_yaml

    ours = ("task", "num_fewshot", "dataset_path", "dataset_name", "training_split", "validation_split", "test_split")
    dropped = ("tag", "task_alias", "should_decontaminate", "doc_to_decontamination_query", "fewshot_split")
    for task in profile_tasks(list(TASKS)):
        pinned = TASKS[task.unit]
        file = pinned.file.replace("*", task.subject)
        theirs = load_yaml(nlp_tasks._directory() / file, resolve_func=False)
        for key in {*theirs, *task.config} - {*ours, *dropped, *pinned.changes}:
            assert task.config.get(key) == theirs.get(key), (task.name, key)


def test_no_task_draws_its_examples_from_what_it_scores() -> None:
    for task in profile_tasks(list(TASKS)):
        assert task.config["test_split"] == "scored"
        own = "samples" in (task.config.get("fewshot_config") or {})
        assert task.config["fewshot_split"] == ("shots" if task.shots and not own else None)
        assert SOURCES[task.unit].shots is not None or not task.shots or own


def test_another_version_of_a_definition_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "piqa").mkdir()
    (tmp_path / "piqa" / "piqa.yaml").write_text("task: piqa\nmetadata:\n  version: 9.0\n")
    monkeypatch.setattr(nlp_tasks, "_directory", lambda: tmp_path)
    nlp_tasks._entry.cache_clear()
    try:
        with pytest.raises(ConfigError, match=r"version 9\.0 of piqa/piqa\.yaml, not 1\.0"):
            profile_tasks(["piqa"])
        with pytest.raises(ConfigError, match=r"has no gsm8k/gsm8k-cot\.yaml"):
            profile_tasks(["gsm8k"])
    finally:
        nlp_tasks._entry.cache_clear()


def test_the_strict_form_of_a_fact_and_the_flexible_one() -> None:
    import re

    (fact,) = [t for t in micro_tasks() if t.name == "micro_fact"]
    pattern = fact.config["filter_list"][0]["filter"][0]["regex_pattern"]
    for text, answer, strict, flexible in (
        (" Grey.", "grey", "Grey", "Grey"),
        (" A nail is grey.", "grey", "grey", "grey"),
        (" A nail is a tool.", "tool", "tool", "tool"),
        (" You find a nail in the workshop.", "workshop", "workshop", "workshop"),
        (" A nail is grey. It is small.", "grey", None, "grey"),
        (" A nail is grey. It is small.", "small", None, "small"),
        (" A nail is a small grey tool from the workshop.", "tool", None, "tool"),
        (" A nail is a small red tool, not grey.", "grey", None, "red"),
        (" grey", "grey", None, "grey"),
        (" You find a whale in the seaMissing: nothing.", "sea", None, "sea"),
        (" A nail is a tool.", "grey", "tool", "[invalid]"),
        (" A nail.", "grey", None, "[invalid]"),
    ):
        assert ((m := re.search(pattern, text)) and m[1]) == strict, text
        assert first_value_asked_for([[text, text]], [{"answer": answer}]) == [[flexible, flexible]], text


@pytest.mark.slow
def test_identity_and_plan_need_neither_lm_eval_nor_torch() -> None:
    code = (
        "import sys; from leaderboards.nlp.benchmark import MicroNlp; from leaderboards.base import Setting;"
        "from selfreward_bench.config import RunConfig; s = Setting(RunConfig());"
        "MicroNlp().identity(s); MicroNlp().plan(s);"
        "sys.exit(', '.join({'torch', 'lm_eval', 'datasets', 'transformers'} & set(sys.modules)))"
    )
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True).stderr.strip() == ""


# --- scores


def leaf(unit: str, subject: str, values: list[float | None], clusters: list[str] | None = None) -> Leaf:
    task = f"{unit}_{subject}" if subject else unit
    rows = [
        SampleScore(sample_id=f"{task}/{i}", value=v, cluster=c, detail={"measures": {"acc,none": v}})
        for i, (v, c) in enumerate(zip(values, clusters or [f"{task}/{i}" for i in range(len(values))], strict=True))
    ]
    known = [v for v in values if v is not None]
    mean = sum(known) / len(known) if known else None
    scores = TaskScores(
        task=task,
        unit=unit,
        subject=subject,
        main="acc,none",
        version="1",
        shots=0,
        metrics={"acc,none": mean},
        n=len(rows),
    )
    return Leaf(scores, rows)


def test_the_interval_of_one_stratum_is_students() -> None:
    values = [float(x) for x in np.random.default_rng(0).random(40) < 0.3]
    found = stratified_mean([(leaf("a", "", [*values, None]).rows, 1.0, "acc,none")])
    expected = scipy_stats.t.interval(0.95, 39, np.mean(values), scipy_stats.sem(values))
    assert (found.low, found.high) == pytest.approx(expected)
    assert (found.n_scored, found.n_total) == (40, 41)


def test_equal_documents_count_once_in_the_interval() -> None:
    values = [float(x) for x in np.random.default_rng(1).random(30) < 0.5]
    single = stratified_mean([(leaf("a", "", values).rows, 1.0, "acc,none")])
    clusters = [str(i) for i in range(30)] * 2
    doubled = stratified_mean([(leaf("a", "", values * 2, clusters).rows, 1.0, "acc,none")])
    assert (doubled.low, doubled.high) == pytest.approx((single.low, single.high))


def test_the_interval_of_a_mean_of_means_covers_what_it_should() -> None:
    rng, strata, hits = np.random.default_rng(2), {"a": (0.2, 30), "b": (0.7, 200), "c": (0.9, 60)}, 0
    for _ in range(120):
        leaves = [leaf(unit, "", [float(x) for x in rng.random(n) < p]) for unit, (p, n) in strata.items()]
        found = combine(leaves).metrics["average"]
        assert found.low is not None
        assert found.high is not None
        hits += found.low <= 0.6 <= found.high
    assert 0.89 < hits / 120 < 0.995


def test_a_task_without_a_score_leaves_no_average() -> None:
    found = combine([leaf("a", "", [1.0, 0.0]), leaf("b", "", [None, None])])
    rows, metrics = found.rows, found.metrics
    assert "average" not in metrics
    assert "a" in rows[0].detail["measures"]


def test_numbers_that_are_no_means_over_documents_are_lm_evals() -> None:
    plain = leaf("wikitext", "", [3.0, 5.0])
    scores = plain.scores.model_copy(update={"metrics": {"acc,none": math.sqrt(15)}})
    found = combine([Leaf(scores, plain.rows), leaf("a", "", [1.0, 0.0])])
    rows, metrics = found.rows, found.metrics
    assert metrics["wikitext"].value == pytest.approx(math.sqrt(15))
    assert metrics["wikitext"].low is None
    assert "average" not in metrics
    assert all("wikitext" not in r.detail["measures"] for r in rows)


def test_hostile_samples_make_bounded_rows() -> None:
    sample = {
        "doc_id": 0,
        "doc_hash": "x" * 5000,
        "metrics": ["acc", "f1", "bad"],
        "acc": float("nan"),
        "f1": (1, 2),
        "bad": "text",
        "arguments": [["p" * 9000, " a" * 9000], ["p" * 9000, " b"]],
        "filtered_resps": [["-1.0", "False"], ["x", "True"]],
        "target": "9" * 9000,
    }
    (found,) = sample_rows("t", "acc,none", [sample])
    assert found.value is None
    assert found.reason == "no_number"
    assert set(found.detail["measures"]) == {"acc,none", "no_answer", "cut"}
    assert len(json.dumps(found.model_dump())) < 6000
