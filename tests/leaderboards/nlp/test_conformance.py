"""The NLP benchmarks on the real files: official row counts, and a real model from end to end.

Needs SRBENCH_DATA_DIR; the model is the 260,032-parameter one of its ``stories260k`` folder.
"""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from leaderboards.base import Outcome, Setting, Subject, summarise
from leaderboards.nlp.benchmark import Nlp
from leaderboards.nlp.sources import read_documents
from leaderboards.nlp.tasks import TASKS, profile_tasks
from selfreward_bench.config import EngineConfig, EvalConfig, RunConfig
from selfreward_bench.engines import open_engine
from selfreward_bench.engines.base import ChoiceRequest
from selfreward_bench.sources.directory import DataDir

DATA = DataDir.find()
pytestmark = pytest.mark.skipif(DATA.root is None, reason="SRBENCH_DATA_DIR is not set")

OFFICIAL = {
    "arc_easy": 2376,
    "arc_challenge": 1172,
    "hellaswag": 1000,  # of the 10,042 of the validation set: the subset that is there
    "siqa": 1954,
    "piqa": 1838,
    "gsm8k": 1319,
    "mmlu": 14042,
    "openbookqa": 500,
    "nq_open": 3610,
}


@pytest.fixture(scope="module")
def engine() -> Any:
    assert DATA.root is not None
    return open_engine(EngineConfig(device="cpu"), DATA.root / "stories260k" / "hf_derived", threads=1)


def run(engine: Any, directory: Path, **options: Any) -> Outcome:
    asked = Setting(RunConfig(eval=EvalConfig(**options)), DATA)
    return Nlp().run(Subject("stories260k", lambda: engine, asked, directory, lambda n: None))


def test_every_row_is_readable_and_the_counts_are_the_official_ones() -> None:
    counts: Counter[str] = Counter()
    for task in profile_tasks(list(TASKS)):
        found = read_documents(DATA, task.unit, subject=task.subject)
        assert found.unreadable == ()
        counts[task.unit] += len(found.scored)
        if task.config["fewshot_split"]:
            assert len(found.shots) >= task.shots
    assert counts == OFFICIAL
    assert len(profile_tasks(["mmlu"])) == 57


def test_our_accuracy_is_that_of_an_independent_computation(engine: Any, tmp_path: Path) -> None:
    """ARC-Easy, 60 questions: log-probabilities by the engine's own scoring, choices compared here."""
    outcome = run(engine, tmp_path, nlp_tasks=("arc_easy",), nlp_limit=60)
    docs = read_documents(DATA, "arc_easy", limit=60).scored
    requests = [
        ChoiceRequest(str(i), f"Question: {d['question']}\nAnswer:", tuple(f" {c}" for c in d["choices"]["text"]))
        for i, d in enumerate(docs)
    ]
    found = {c.id: c.logprobs for batch in engine.choice_logprobs(requests) for c in batch}
    plain, normalised = [], []
    for i, doc in enumerate(docs):
        choices, right = doc["choices"]["text"], doc["choices"]["label"].index(doc["answerKey"])
        scores = found[str(i)]
        plain.append(max(range(len(choices)), key=lambda k, s=scores: s[k]) == right)  # type: ignore[misc]
        normalised.append(
            max(range(len(choices)), key=lambda k, s=scores, c=choices: s[k] / len(c[k])) == right  # type: ignore[misc]
        )
    metrics = summarise(outcome.rows)
    assert [r.value for r in outcome.rows] == [float(x) for x in normalised]
    assert metrics["arc_easy"].value == pytest.approx(sum(normalised) / 60)
    assert metrics["arc_easy/acc"].value == pytest.approx(sum(plain) / 60)


@pytest.mark.slow
def test_a_real_model_takes_the_whole_profile(engine: Any, tmp_path: Path) -> None:
    outcome = run(engine, tmp_path, nlp_limit=4)
    found = summarise(outcome.rows) | dict(outcome.metrics)
    for task in TASKS:
        value = found[task].value
        assert value is not None
        assert 0 <= value <= 1
        assert found[task].n_total == (4 * 57 if task == "mmlu" else 4)
    assert found["average"].n_scored == 4 * (57 + 8)
    assert found["average"].value == pytest.approx(sum(found[t].value or 0 for t in TASKS) / 9)
    assert found["truncated_prompts"].value is not None
    assert found["truncated_prompts"].value > 0.8  # 512 tokens hold no five examples of MMLU
    assert outcome.comparability["profile"] == "srbench-nlp@1"
