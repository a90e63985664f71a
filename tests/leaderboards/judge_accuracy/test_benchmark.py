"""The flow on real data's layouts: pointwise and pairwise judges, others' verdicts, failures, resuming."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest

from leaderboards.base import Finished, Outcome, Setting, Subject, summarise
from leaderboards.judge_accuracy.benchmark import (
    JsonlJudgeAccuracy,
    JudgeAccuracy,
    LLMBarJudgeAccuracy,
    LLMBarProcessedJudgeAccuracy,
    OasstJudgeAccuracy,
    PandaLMJudgeAccuracy,
)
from leaderboards.judge_accuracy.data import LLMBAR
from leaderboards.metrics import BUILT_IN
from leaderboards.texts import texts
from selfreward_bench.config import EvalConfig, JudgeConfig, RunConfig
from selfreward_bench.engines.base import ChoiceRequest, GenerationRequest
from selfreward_bench.engines.scripted import ScriptedEngine
from selfreward_bench.errors import ConfigError, DataError
from selfreward_bench.sources.directory import DataDir
from selfreward_bench.storage import jsonl
from selfreward_bench.types import Completion, Judgment, Metric

GOOD = {"answer A": 5, "answer B": 3, "answer C": 1}
N_PROMPTS = 6


@pytest.fixture
def ranked(tmp_path: Path) -> Path:
    path = tmp_path / "ranked.jsonl"
    responses = [{"text": text, "rank": rank} for rank, text in enumerate(GOOD)]
    rows = [{"id": f"p{i}", "prompt": f"Question {i}?", "responses": responses} for i in range(N_PROMPTS)]
    path.write_text("\n".join(map(json.dumps, rows)))
    return path


def put(path: Path, rows: Any) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(rows))
    return path


def text_of(request: GenerationRequest | ChoiceRequest) -> str:
    return request.prompt if isinstance(request.prompt, str) else request.prompt[-1].content


def grader(grade: Callable[[str, int], object]) -> ScriptedEngine:
    """A pointwise judge: ``grade(response, sample)``."""

    def answer(request: GenerationRequest, index: int) -> str:
        shown = text_of(request).split("<graded_response>\n")[-1].split("\n</graded_response>")[0]
        return f"Some reasons.\nScore: {grade(shown, index)}"

    return ScriptedEngine(answer)


def comparer(compare: Callable[[str, str], str]) -> ScriptedEngine:
    """A pairwise judge: ``compare(first shown, second shown)`` is A, B, tie or something unreadable."""

    def answer(request: GenerationRequest, index: int) -> str:
        a, b = (part.split("\n</judged_response>")[0] for part in text_of(request).split("<judged_response>\n")[1:3])
        return f"Some reasons.\nVerdict: {compare(a, b)}"

    return ScriptedEngine(answer)


def config(prompt: str = "additive-5pt", **judge: Any) -> RunConfig:
    return RunConfig(judge=JudgeConfig(prompt=prompt, **judge))


def subject(directory: Path, engine: Any, settings: RunConfig | None = None, **setting: Any) -> Subject:
    return Subject("M1", lambda: engine, Setting(settings or config(), **setting), directory, lambda n: None)


def metrics(outcome: Outcome) -> dict[str, Metric]:
    return summarise(outcome.rows) | dict(outcome.metrics)


# --- one response at a time


def test_a_judge_that_ranks_like_people(ranked: Path, tmp_path: Path) -> None:
    outcome = JsonlJudgeAccuracy(ranked).run(subject(tmp_path / "out", grader(lambda r, k: GOOD[r])))
    found = metrics(outcome)
    for name in ("pairwise_accuracy", "spearman", "kendall_tau_b", "exact_match", "five_best", "spearman_pooled"):
        assert found[name].value == pytest.approx(1), name
    assert (found["top_share"].value, found["mean_score"].value) == (pytest.approx(1 / 3), pytest.approx(3))
    assert (found["self_agreement"].value, found["score_spread"].value) == (1, 0)
    assert (found["parse_failures"].value, found["parse_failures"].n_total) == (0, 3 * 3 * N_PROMPTS)
    assert (outcome.incomplete, outcome.comparability["order"]) == (0, "none")
    assert outcome.judge is not None
    assert outcome.judge.startswith("additive-5pt@1")
    shown = next(r for r in outcome.rows if r.sample_id == "response/p0/0").detail
    assert (shown["prompt"], shown["response"], len(shown["raw"])) == ("Question 0?", "answer A", 3)
    told = texts(tmp_path / "out", "judge-accuracy-jsonl@1", outcome.rows)["response/p0/0"]
    assert {told[f"judgment_{k}"] for k in (1, 2, 3)} == {"Some reasons.\nScore: 5"}


def test_five_best_takes_the_nearest_grade(ranked: Path, tmp_path: Path) -> None:
    """Samples 5, 5, 4 of the worst response are a top grade; 5, 4, 4 of the best one are not."""
    samples = {"answer A": (5, 4, 4), "answer B": (5, 5, 5), "answer C": (5, 5, 4)}
    found = metrics(JsonlJudgeAccuracy(ranked).run(subject(tmp_path / "out", grader(lambda r, k: samples[r][k]))))
    assert (found["five_best"].value, found["five_best"].n_total) == (0, 2 * N_PROMPTS)
    assert found["self_agreement"].value == pytest.approx((1 / 3 + 1 + 1 / 3) / 3)


def test_without_a_top_grade_there_is_no_five_best(ranked: Path, tmp_path: Path) -> None:
    found = metrics(JsonlJudgeAccuracy(ranked).run(subject(tmp_path / "out", grader(lambda r, k: GOOD[r] - 1))))
    assert found["five_best"] == Metric(value=None, n_scored=0, n_total=0)
    assert found["top_share"].value == 0


def test_unread_judgments_are_neither_wrong_nor_right(ranked: Path, tmp_path: Path) -> None:
    engine = grader(lambda r, k: GOOD[r] if r != "answer B" else "?")
    outcome = JsonlJudgeAccuracy(ranked).run(subject(tmp_path / "out", engine))
    found = metrics(outcome)
    accuracy = found["pairwise_accuracy"]
    assert (accuracy.value, accuracy.n_scored, accuracy.n_total) == (1, N_PROMPTS, 3 * N_PROMPTS)
    assert found["parse_failures"].value == pytest.approx(1 / 3)
    assert outcome.incomplete == 0


class Failing(ScriptedEngine):
    """Fails requests for some responses with some reason."""

    reasons: Mapping[str, str] = {}

    def generate(self, requests: Sequence[GenerationRequest], done: Any = ()) -> Iterator[list[Completion]]:
        self.failures = {r.id: self.reasons[r.id] for r in requests if r.id in self.reasons}
        return super().generate([r for r in requests if r.id not in self.failures], done)


def test_failed_judgments_are_named_and_asked_for_again(ranked: Path, tmp_path: Path) -> None:
    engine = Failing(grader(lambda r, k: GOOD[r])._texts)
    engine.reasons = {"p0/0": "failed: 503", "p1/1": "refused"}
    outcome = JsonlJudgeAccuracy(ranked).run(subject(tmp_path / "out", engine))
    rows = {r.sample_id: r for r in outcome.rows}
    assert outcome.incomplete == 1
    assert (rows["response/p0/0"].value, rows["response/p0/0"].reason) == (None, "failed: 503")
    assert rows["response/p1/1"].reason == "refused"
    again = grader(lambda r, k: GOOD[r])
    outcome = JsonlJudgeAccuracy(ranked).run(subject(tmp_path / "out", again))
    assert metrics(outcome)["pairwise_accuracy"].n_scored == 3 * N_PROMPTS


def test_what_is_judged_is_not_judged_again(ranked: Path, tmp_path: Path) -> None:
    whole = JsonlJudgeAccuracy(ranked).run(subject(tmp_path / "whole", grader(lambda r, k: GOOD[r])))
    path = tmp_path / "whole" / "judgments.jsonl"
    kept = path.read_bytes().splitlines(keepends=True)[: 8 * 3]  # one batch of the engine, and a torn line
    (tmp_path / "cut").mkdir()
    (tmp_path / "cut" / "judgments.jsonl").write_bytes(b"".join(kept) + b'{"prompt_id": "p')
    engine = grader(lambda r, k: GOOD[r])
    resumed = JsonlJudgeAccuracy(ranked).run(subject(tmp_path / "cut", engine))
    assert len(engine.requests) == 3 * N_PROMPTS - 8
    assert resumed.rows == whole.rows


def test_the_limit_takes_the_first_prompts(ranked: Path, tmp_path: Path) -> None:
    settings = config().model_copy(update={"eval": EvalConfig(limit=2)})
    benchmark = JsonlJudgeAccuracy(ranked)
    outcome = benchmark.run(subject(tmp_path / "out", grader(lambda r, k: GOOD[r]), settings))
    assert {r.cluster for r in outcome.rows} == {"p0", "p1"}
    assert benchmark.plan(Setting(settings)).judgments.calls == 2 * 3 * 3
    assert benchmark.plan(Setting(settings)).units == len(
        jsonl.read(tmp_path / "out" / "judgments.jsonl", Judgment, unique=lambda j: j.id)
    )


@pytest.mark.parametrize("prompt", ["additive-5pt", "pairwise"])
def test_the_plan_bounds_the_tokens_of_what_is_asked(ranked: Path, tmp_path: Path, prompt: str) -> None:
    benchmark, settings = JsonlJudgeAccuracy(ranked), config(prompt)
    engine = comparer(lambda a, b: "A") if prompt == "pairwise" else grader(lambda r, k: 3)
    benchmark.run(subject(tmp_path / "out", engine, settings))
    planned = benchmark.plan(Setting(settings)).judgments
    assert planned.calls == sum(r.n for r in engine.requests)
    assert planned.prompt_tokens == sum(r.n * len(r.prompt[0].content.encode()) for r in engine.requests)
    assert planned.completion_tokens == sum(r.n * r.max_new_tokens for r in engine.requests)


def test_identity_knows_data_judge_and_limit(ranked: Path) -> None:
    benchmark = JsonlJudgeAccuracy(ranked)
    first = benchmark.identity(Setting(config()))
    assert benchmark.identity(Setting(config(samples=2))) != first
    assert benchmark.identity(Setting(config("five-bucket"))) != first
    assert benchmark.identity(Setting(config().model_copy(update={"eval": EvalConfig(limit=2)}))) != first
    ranked.write_text(ranked.read_text().replace("answer A", "answer Z"))
    assert benchmark.identity(Setting(config())) != first


# --- two responses at a time


def test_a_pairwise_judge_is_asked_in_both_orders(ranked: Path, tmp_path: Path) -> None:
    benchmark, settings = JsonlJudgeAccuracy(ranked), config("pairwise")
    engine = comparer(lambda a, b: "A" if GOOD[a] > GOOD[b] else "B")
    outcome = benchmark.run(subject(tmp_path / "out", engine, settings))
    found = metrics(outcome)
    for name in ("pairwise_accuracy", "order_accuracy_ab", "order_accuracy_ba", "consistency"):
        assert (found[name].value, found[name].n_total) == (1, 3 * N_PROMPTS), name
    assert (found["order_accuracy"].n_total, found["prefers_first"].value) == (6 * N_PROMPTS, 0.5)
    assert found["kappa_orders"].value is None  # the better response always stands first in this file
    assert benchmark.plan(Setting(settings)).judgments.calls == len(engine.requests) == 6 * N_PROMPTS
    assert outcome.comparability["order"] == "both"
    told = texts(tmp_path / "out", "judge-accuracy-jsonl@1", outcome.rows)["pair/p0/0"]
    assert (told["prompt"], told["response_1"], told["response_2"]) == ("Question 0?", "answer A", "answer B")
    assert (told["judgment_ab"], told["judgment_ba"]) == tuple(f"Some reasons.\nVerdict: {x}" for x in "AB")


def test_a_judge_of_places_is_found_out(ranked: Path, tmp_path: Path) -> None:
    outcome = JsonlJudgeAccuracy(ranked).run(subject(tmp_path, comparer(lambda a, b: "A"), config("pairwise")))
    found = metrics(outcome)
    assert (found["prefers_first"].value, found["consistency"].value) == (1, 0)
    assert (found["tie_rate"].value, found["pairwise_accuracy"].value) == (1, 0.5)
    assert (found["order_accuracy_ab"].value, found["order_accuracy_ba"].value) == (1, 0)


def test_pairwise_verdicts_that_cannot_be_read(ranked: Path, tmp_path: Path) -> None:
    engine = comparer(lambda a, b: "A" if a == "answer A" else "both")
    outcome = JsonlJudgeAccuracy(ranked).run(subject(tmp_path, engine, config("pairwise")))
    found = metrics(outcome)
    assert (found["pairwise_accuracy"].value, found["pairwise_accuracy"].n_scored) == (None, 0)
    assert (found["order_accuracy"].value, found["order_accuracy"].n_scored) == (1, 2 * N_PROMPTS)
    assert found["parse_failures"].value == pytest.approx(4 / 6)
    row = next(r for r in outcome.rows if r.sample_id == "pair/p0/0")
    assert row.reason == "no_verdict"
    assert row.detail["responses"] == ["answer A", "answer B"]
    assert outcome.incomplete == 0


def test_pairwise_judgments_are_resumed_order_by_order(ranked: Path, tmp_path: Path) -> None:
    def judge() -> ScriptedEngine:
        return comparer(lambda a, b: "A" if GOOD[a] > GOOD[b] else "B")

    settings = config("pairwise")
    whole = JsonlJudgeAccuracy(ranked).run(subject(tmp_path / "whole", judge(), settings))
    lines = (tmp_path / "whole" / "judgments.jsonl").read_bytes().splitlines(keepends=True)
    (tmp_path / "cut").mkdir()
    (tmp_path / "cut" / "judgments.jsonl").write_bytes(b"".join(lines[:8]))
    engine = judge()
    assert JsonlJudgeAccuracy(ranked).run(subject(tmp_path / "cut", engine, settings)).rows == whole.rows
    assert len(engine.requests) == 6 * N_PROMPTS - 8


def test_a_pairwise_prompt_has_no_expected_grade(ranked: Path, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="mode sampled"):
        JsonlJudgeAccuracy(ranked).run(
            subject(tmp_path, comparer(lambda a, b: "A"), config("pairwise", mode="expected"))
        )


# --- data sets


def llmbar_root(root: Path) -> Path:
    for n, (subset, file) in enumerate(LLMBAR.items()):
        rows = [
            {"input": f"{subset} {i}?", "output_1": f"good {i}", "output_2": f"bad {i}", "label": 1}
            for i in range(2 + n)
        ]
        rows.append({"input": f"{subset} swapped?", "output_1": "bad", "output_2": "good", "label": 2})
        put(root / file, rows)
    return root


def test_llmbar_by_a_pointwise_judge(tmp_path: Path) -> None:
    """Right on Natural, cannot tell on the adversarial subsets."""
    engine = ScriptedEngine(
        lambda r, k: "Score: 5" if "Natural" in text_of(r) and ">\ngood" in text_of(r) else "Score: 2"
    )
    setting = {"data": DataDir(llmbar_root(tmp_path / "data"))}
    outcome = LLMBarJudgeAccuracy().run(subject(tmp_path / "out", engine, **setting))
    found = metrics(outcome)
    assert found["pairwise_accuracy/Natural"].value == 1
    assert [found[f"pairwise_accuracy/{s}"].value for s in list(LLMBAR)[1:]] == [0.5] * 4
    assert (found["subset_average"].value, found["adversarial_average"].value) == (pytest.approx(0.6), 0.5)
    assert found["pairwise_accuracy"].value == pytest.approx((3 + (4 + 5 + 6 + 7) / 2) / 25)
    assert found["kappa/Natural"].value == 1
    assert "spearman" not in found
    assert "label_accuracy" not in found


PANDALM = {"instruction": "Say it.", "input": ""}


def pandalm_root(root: Path) -> Path:
    labels = [(1, 1, 1), (2, 2, 1), (0, 0, 0), (0, 0, 1)]
    rows = [
        {**PANDALM, "idx": i, "response1": f"one {i}", "response2": f"two {i}"}
        | {f"annotator{k}": label for k, label in enumerate(votes, start=1)}
        for i, votes in enumerate(labels)
    ]
    put(root / "pandalm/testset-v1.json", rows)
    return root


def test_pandalm_ties_are_labels_of_their_own(tmp_path: Path) -> None:
    engine = ScriptedEngine(lambda r, k: "Score: 4" if ">\none 0" in text_of(r) else "Score: 3")
    setting = {"data": DataDir(pandalm_root(tmp_path / "data"))}
    found = metrics(PandaLMJudgeAccuracy().run(subject(tmp_path / "out", engine, **setting)))
    assert (found["label_accuracy"].value, found["label_accuracy"].n_total) == (0.75, 4)
    assert (found["pairwise_accuracy"].value, found["pairwise_accuracy"].n_total) == (0.75, 2)
    assert found["annotator_kappa/1-2"].value == 1
    assert found["kappa"].value is not None


def test_finished_verdicts_need_no_engine(tmp_path: Path) -> None:
    said = [{"idx": i, "gpt_result": r} for i, r in enumerate(("1", "1", "Tie", "garbage"))]
    path = put(tmp_path / "gpt.json", said)
    benchmark = PandaLMJudgeAccuracy()
    kind = benchmark.recognise(path)
    assert kind == "pandalm-results"
    data, finished = DataDir(pandalm_root(tmp_path / "data")), Finished(kind, path)
    found = metrics(benchmark.run(subject(tmp_path / "out", None, data=data, finished=finished)))
    assert (found["label_accuracy"].value, found["label_accuracy"].n_scored) == (pytest.approx(2 / 3), 3)
    assert found["label_accuracy_unparsed_wrong"].value == 0.5
    assert "consistency" not in found  # one order only
    assert benchmark.plan(Setting(config(), data, finished=finished)).units == 0
    first = benchmark.identity(Setting(config(), data, finished=finished))
    put(path, said[:2])
    assert benchmark.identity(Setting(config(), data, finished=finished)) != first
    found = metrics(benchmark.run(subject(tmp_path / "part", None, data=data, finished=finished)))
    wrong = found["label_accuracy_unparsed_wrong"]  # what is not in the file is not wrong
    assert (wrong.value, wrong.n_scored, wrong.n_total) == (0.5, 2, 4)
    put(path, [{"idx": 99, "gpt_result": "1"}])
    with pytest.raises(DataError, match="none of its idx is one of PandaLM's"):
        benchmark.run(subject(tmp_path / "none", None, data=data, finished=finished))


def test_finished_verdicts_on_one_subset(tmp_path: Path) -> None:
    root = llmbar_root(tmp_path / "data")
    rows = json.loads((root / LLMBAR["Manual"]).read_text())[:-1]
    calls = {"swap = False": {"winner": "1"}, "swap = True": {"winner": "2"}}
    path = put(tmp_path / "result.json", [{**r, "results": [calls]} for r in rows])
    finished = Finished("llmbar-results", path)
    found = metrics(LLMBarJudgeAccuracy().run(subject(tmp_path, None, data=DataDir(root), finished=finished)))
    assert (
        found["order_accuracy_ab/Manual"] if "order_accuracy_ab/Manual" in found else found["order_accuracy_ab"]
    ).value == 1
    assert (found["consistency/Manual"].value, found["consistency/Manual"].n_total) == (0, 7)  # one pair is missing
    assert found["consistency/Manual"].n_scored == 6
    for name in ("agreement", "net"):  # an order that was not judged is not wrong
        assert (found[f"{name}/Manual"].n_scored, found[f"{name}/Manual"].n_total) == (6, 7)
    assert "consistency/Natural" not in found


def test_what_has_no_layout_for_finished_verdicts_says_so(ranked: Path, tmp_path: Path) -> None:
    benchmark = JsonlJudgeAccuracy(ranked)
    assert benchmark.recognise(ranked) is None
    with pytest.raises(DataError, match="Judge anew"):
        benchmark.run(subject(tmp_path, None, finished=Finished("llmbar-results", ranked)))


@pytest.mark.parametrize(
    "benchmark",
    [OasstJudgeAccuracy(), LLMBarJudgeAccuracy(), LLMBarProcessedJudgeAccuracy(), PandaLMJudgeAccuracy()],
)
def test_missing_data_names_the_command_that_gets_it(benchmark: JudgeAccuracy, tmp_path: Path) -> None:
    with pytest.raises(DataError, match="srbench data pull"):
        benchmark.plan(Setting(config(), DataDir(tmp_path)))
    assert benchmark.key in BUILT_IN
    assert not benchmark.needs_judge
