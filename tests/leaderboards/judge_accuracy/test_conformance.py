"""Published numbers of LLMBar and PandaLM, recomputed from the published verdicts; needs SRBENCH_DATA_DIR."""

from __future__ import annotations

import json
import os
from collections import Counter
from pathlib import Path

import pytest

from leaderboards.base import Finished, Setting, Subject, summarise
from leaderboards.judge_accuracy import data as judge_data
from leaderboards.judge_accuracy import stored
from leaderboards.judge_accuracy.benchmark import (
    JudgeAccuracy,
    LLMBarJudgeAccuracy,
    LLMBarProcessedJudgeAccuracy,
    OasstJudgeAccuracy,
    PandaLMJudgeAccuracy,
)
from selfreward_bench.config import RunConfig
from selfreward_bench.sources.directory import DataDir
from selfreward_bench.types import Metric

pytestmark = pytest.mark.skipif("SRBENCH_DATA_DIR" not in os.environ, reason="SRBENCH_DATA_DIR is not set")

#: subset -> accuracy, mean of both orders; agreement between orders (per cent, as published)
GPT4_ON_LLMBAR = {
    "Natural": (95.5, 95.0),
    "Neighbor": (78.7, 93.3),
    "GPTInst": (86.4, 94.6),
    "GPTOut": (77.7, 93.6),
    "Manual": (80.4, 82.6),
}


@pytest.fixture
def data() -> DataDir:
    return DataDir(Path(os.environ["SRBENCH_DATA_DIR"]))


def score(benchmark: JudgeAccuracy, path: Path, data: DataDir) -> dict[str, Metric]:
    kind = benchmark.recognise(path)
    assert kind is not None

    def no_engine() -> None:
        raise AssertionError("finished verdicts need no model")

    setting = Setting(RunConfig(), data, finished=Finished(kind, path))
    outcome = benchmark.run(Subject("judge", no_engine, setting, path, lambda n: None))  # type: ignore[arg-type]
    return summarise(outcome.rows) | dict(outcome.metrics)


def percent(metric: Metric) -> float:
    assert metric.value is not None
    return round(100 * metric.value, 1)


def test_gpt4_on_llmbar(data: DataDir) -> None:
    found = score(LLMBarJudgeAccuracy(), data.root / "llmbar" / "LLMBar", data)  # type: ignore[operator]  # it is set
    for subset, (accuracy, agreement) in GPT4_ON_LLMBAR.items():
        assert percent(found[f"order_accuracy/{subset}"]) == pytest.approx(accuracy), subset
        assert percent(found[f"consistency/{subset}"]) == pytest.approx(agreement), subset
    assert (found["consistency"].n_scored, found["parse_failures"].value) == (419, 0)


@pytest.mark.parametrize("subset", list(GPT4_ON_LLMBAR))
def test_agreement_is_what_llmbar_calls_correct_in_both_orders(data: DataDir, subset: str) -> None:
    folder = data.path(judge_data.LLMBAR[subset]).parent / "evaluators/GPT-4/Vanilla"
    told = json.loads((folder / "statistics.json").read_bytes())
    found = score(LLMBarJudgeAccuracy(), folder / "result.json.gz", data)
    right, of = map(int, told["correct_both"].partition(" = ")[0].split(" / "))
    assert found[f"agreement/{subset}"].value == pytest.approx(right / of)
    assert found[f"agreement/{subset}"].n_total == of
    both = [float(told[f"correct_{swapped}"].partition(" = ")[2].rstrip("%")) for swapped in (False, True)]
    orders = [found[f"order_accuracy_{order}"].value for order in ("ab", "ba")]
    assert [100 * (value or 0) for value in orders] == pytest.approx(both)


def test_kappa_on_llmbar_is_that_of_one_label_set(data: DataDir) -> None:
    """The stored kappas with the gold labels compare the number 1 with the text "1" and come out near 0.25."""
    from sklearn.metrics import cohen_kappa_score

    path = data.path("llmbar/LLMBar/Natural/evaluators/GPT-4/Vanilla/result.json")
    known = judge_data.llmbar(data)
    made = stored.llmbar_results(path, known)
    gold = {p.id: float(p.responses[0].rank == 0) for p in known.prompts}
    by_order = {order: [j for j in made if j.order == order] for order in ("ab", "ba")}
    expected = [
        cohen_kappa_score([int(j.score or 0) for j in found], [int(gold[j.prompt_id]) for j in found])
        for found in by_order.values()
    ]
    found = score(LLMBarJudgeAccuracy(), path, data)
    assert expected == pytest.approx([0.8977, 0.9179], abs=5e-5)
    assert found["kappa/Natural"].value == pytest.approx(sum(expected) / 2)
    assert found["kappa_orders/Natural"].value == pytest.approx(0.897708674304419)


def test_pandalm_labels_and_annotators(data: DataDir) -> None:
    found = judge_data.pandalm(data)
    ranks = Counter(tuple(r.rank for r in p.responses) for p in found.prompts)
    assert ranks == {(0, 0): 105, (0, 1): 422, (1, 0): 472}


@pytest.mark.parametrize(
    ("file", "published", "unread"),
    [("gpt-3.5-turbo-testset-v1.json.gz", 69.77, 25), ("pandalm-7b-testset-v1.json.gz", 66.77, 0)],
)
def test_judges_on_pandalm(data: DataDir, file: str, published: float, unread: int) -> None:
    found = score(PandaLMJudgeAccuracy(), data.path(f"pandalm/{file}"), data)
    wrong, ours = found["label_accuracy_unparsed_wrong"], found["label_accuracy"]
    assert wrong.value is not None
    assert ours.value is not None
    assert 100 * wrong.value == pytest.approx(published, abs=0.005)
    assert ours.n_total - ours.n_scored == unread
    assert ours.value == pytest.approx(wrong.value * 999 / (999 - unread))
    kappas = [found[f"annotator_kappa/{pair}"].value for pair in ("1-2", "1-3", "2-3")]
    assert kappas == pytest.approx([0.852, 0.879, 0.862], abs=5e-4)


def test_sizes_of_the_data_sets(data: DataDir) -> None:
    setting = Setting(RunConfig(), data)
    counts = {b.key: len(b.load(setting).prompts) for b in (OasstJudgeAccuracy(), LLMBarJudgeAccuracy())}
    counts |= {b.key: len(b.load(setting).prompts) for b in (LLMBarProcessedJudgeAccuracy(), PandaLMJudgeAccuracy())}
    assert counts == {
        "judge-accuracy-oasst@1": 99,
        "judge-accuracy-llmbar@1": 419,
        "judge-accuracy-llmbar-processed@1": 266,
        "judge-accuracy-pandalm@1": 999,
    }
    responses = [len(p.responses) for p in OasstJudgeAccuracy().load(setting).prompts]
    assert (min(responses), max(responses)) == (2, 9)
