"""NLP benchmarks through lm-eval: what is scored, resumed and refused; with the micro model and with scripted ones."""

from __future__ import annotations

import copy
import csv
import gzip
import json
import logging
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from leaderboards.base import Outcome, Setting, Subject, measures, summarise
from leaderboards.metrics import BUILT_IN
from leaderboards.nlp import benchmark
from leaderboards.nlp.benchmark import MicroNlp, Nlp
from leaderboards.nlp.scores import TaskScores
from leaderboards.nlp.tasks import TASKS
from selfreward_bench.config import EngineConfig, EvalConfig, RunConfig
from selfreward_bench.engines import open_engine
from selfreward_bench.errors import ConfigError, DataError, EngineError
from selfreward_bench.micro import base_path
from selfreward_bench.sources.directory import DataDir
from selfreward_bench.storage import jsonl
from selfreward_bench.types import SampleScore

COLOURS = ("red", "green", "blue", "grey")


def instruction(question: str, choices: tuple[str, ...], right: int, label: str = "Answer") -> dict[str, str]:
    gap = "\n\n" if label == "Solution" else " "
    listed = gap.join(f"{label}{k}: {c}" for k, c in enumerate(choices, 1))
    labels = "/".join(f"{label.lower()}{k}" for k in range(1, len(choices) + 1))
    kind = "solution" if label == "Solution" else "answer"
    text = f"Please choose the correct {kind} to the question: {question}\n\n{listed}\n\nAnswer format: {labels}"
    answer = f"{label.lower()}{right + 1}"
    return {"instruction": text, "input": "", "output": f"the correct answer is {answer}", "answer": answer}


def questions(what: str, n: int, choices: int = 4, label: str = "Answer") -> list[dict[str, str]]:
    rows = []
    for i in range(n):
        listed = [f"{COLOURS[k]} {what}" for k in range(choices)]
        listed[i % choices] = f"right {what}"
        rows.append(instruction(f"Which {what} is number {i}?", tuple(listed), i % choices, label))
    return rows


def write_data(root: Path, subjects: tuple[str, ...] = ()) -> Path:
    """Made-up files in the layout of the data directory; the right choice has the word ``right`` in it."""
    common = root / "nlp" / "commonsense"
    for name, rows in {
        "ARC-Easy/test": questions("stone", 6),
        "ARC-Challenge/test": questions("star", 4),
        "ARC-Challenge/train": questions("planet", 30),
        "openbookqa/test": questions("book", 5),
        "social_i_qa/test": [*questions("friend", 5, 3), questions("friend", 1, 3)[0]],
        "piqa/test": questions("tool", 4, 2, "Solution"),
    }.items():
        path = common / f"{name}.json"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(rows), "utf-8")
    gsm8k = [{"question": f"What is {i} plus 1?", "answer": f"It is one more.\n#### {i + 1}"} for i in range(3)]
    write_lines(root / "nlp/gsm8k/test.jsonl", gsm8k)
    asked = [{"question": f"who is number {i}", "answer": ["Ann", "Ann Lee"]} for i in range(3)]
    examples = [{"question": f"who was number {i}", "answer": [f"Bob {i}"]} for i in range(6)]
    write_lines(root / "nlp/nq_open/NQ-open.dev.jsonl", asked)
    write_lines(root / "nlp/nq_open/NQ-open.efficientqa.dev.1.1.jsonl", examples)
    ends = {"A": "[title] red end.", "B": "right end.", "C": "blue end.", "D": "grey end."}
    lists = {
        s: [{"question": f"{s} {i} begins", "choices": ends, "answer": "B"} for i in range(12)] for s in ("dev", "test")
    }
    path = root / "nlp/hellaswag/hellaswag.json.gz"
    path.parent.mkdir(parents=True)
    path.write_bytes(gzip.compress(json.dumps(lists).encode(), mtime=0))
    for subject in subjects:
        for split, n in (("test", 2 if subject < "f" else 4), ("dev", 5)):
            write_mmlu(root / f"nlp/mmlu/{split}/{subject}_{split}.csv", subject, split, n)
    return root


def write_lines(path: Path, rows: list[dict[str, Any]]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(json.dumps(r) + "\n" for r in rows), "utf-8")


def write_mmlu(path: Path, subject: str, split: str, n: int) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w", newline="", encoding="utf-8") as stream:
        writer = csv.writer(stream)
        writer.writerow(["question", "choice0", "choice1", "choice2", "choice3", "answer"])
        for i in range(n):
            writer.writerow([f"{subject} {split} {i}, A?", "one", "two", "three", "four", 0])


def setting(data: Path | None = None, **options: Any) -> Setting:
    return Setting(RunConfig(eval=EvalConfig(**options)), DataDir(data))


def subject(setting: Setting, directory: Path, engine: Any = None, advanced: list[int] | None = None) -> Subject:
    told = advanced.append if advanced is not None else lambda n: None
    return Subject("M1", lambda: engine, setting, directory, told)


def all_metrics(outcome: Outcome) -> dict[str, float | None]:
    return {k: m.value for k, m in (summarise(outcome.rows) | dict(outcome.metrics)).items()}


Choose = Callable[[str, str], float]


def scripted(choose: Choose, write: Callable[[str], str] = lambda prompt: "") -> Any:
    """A language model of lm-eval's interface that prefers and writes what it is told."""
    from lm_eval.api.model import LM

    class Scripted(LM):  # type: ignore[misc]  # lm_eval has no types
        def __init__(self) -> None:
            super().__init__()
            self.prompts: list[str] = []

        def loglikelihood(self, requests: Any) -> list[tuple[float, bool]]:
            self.prompts += [r.args[0] for r in requests]
            return [(choose(*r.args), False) for r in requests]

        def generate_until(self, requests: Any) -> list[str]:
            self.prompts += [r.args[0] for r in requests]
            return [write(r.args[0]) for r in requests]

        def loglikelihood_rolling(self, requests: Any) -> list[float]:
            raise NotImplementedError

    return Scripted()


@pytest.fixture
def use_model(monkeypatch: pytest.MonkeyPatch) -> Callable[[Any], None]:
    """Puts a scripted model in place of the subject's."""
    return lambda lm: monkeypatch.setattr(benchmark, "open_model", lambda subject: lm)


@pytest.fixture(scope="module")
def micro_engine() -> Any:
    return open_engine(EngineConfig(device="cpu"), base_path(), threads=1)


@pytest.fixture(scope="module")
def micro_outcome(micro_engine: Any, tmp_path_factory: pytest.TempPathFactory) -> tuple[Outcome, Path, list[int]]:
    directory, told = tmp_path_factory.mktemp("micro-nlp"), list[int]()
    return MicroNlp().run(subject(setting(limit=24), directory, micro_engine, told)), directory, told


def prefers_right(prompt: str, continuation: str) -> float:
    return 0.0 if "right" in continuation else -50.0


@pytest.mark.slow
def test_the_embedded_base_model_knows_its_world(micro_outcome: tuple[Outcome, Path, list[int]]) -> None:
    outcome, _, told = micro_outcome
    found = all_metrics(outcome)
    assert {m for m in BUILT_IN["micro-nlp@1"].metrics if m not in found} == set()
    assert found["micro_choice"] > 0.8  # type: ignore[operator]
    assert found["micro_fact/flexible-extract"] > 0.8  # type: ignore[operator]
    assert 0.4 < found["micro_sort"] < 1  # type: ignore[operator]
    assert found["average"] == pytest.approx(sum(found[f"micro_{t}"] for t in ("choice", "sort", "fact")) / 3)  # type: ignore[misc]
    assert found["truncated_prompts"] == 0
    assert sum(told) == MicroNlp().plan(setting(limit=24)).units == len(outcome.rows) == 72


def test_a_row_says_what_was_asked_and_answered(micro_outcome: tuple[Outcome, Path, list[int]]) -> None:
    rows = micro_outcome[0].rows
    choice = next(r for r in rows if r.sample_id.startswith("micro_choice/"))
    assert choice.detail["prompt"].startswith("Task: ")
    assert choice.detail["prompt"].endswith("\nAnswer:")
    assert choice.value == float(choice.detail["answer"] == choice.detail["target"])
    written = next(r for r in rows if r.sample_id.startswith("micro_fact/") and r.value == 1)
    assert written.detail["target"] == written.detail["answer"].lower()
    assert written.detail["target"] in written.detail["response"].lower()
    assert all(len(r.sample_id.partition("/")[2]) == 64 for r in rows)  # lm-eval's document hash


def test_the_same_documents_whatever_the_limit() -> None:
    few, many = (MicroNlp().jobs(setting(limit=n))[1].load() for n in (5, 9))
    assert list(few.eval_docs) == list(many.eval_docs)[:5]


def test_finished_tasks_are_not_run_again(
    micro_outcome: tuple[Outcome, Path, list[int]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    outcome, directory, _ = micro_outcome
    for file in directory.iterdir():
        (tmp_path / file.name).write_bytes(file.read_bytes())
    scores = jsonl.read(tmp_path / "tasks.jsonl", TaskScores)
    (tmp_path / "tasks.jsonl").write_bytes(b"")
    jsonl.append(tmp_path / "tasks.jsonl", scores[:2])  # killed after the second task; its samples may be there or not
    ran: list[str] = []
    real = benchmark._evaluate

    def recording(lm: Any, job: Any, advanced: Any) -> Any:
        ran.append(job.name)
        return real(lm, job, advanced)

    monkeypatch.setattr(benchmark, "_evaluate", recording)
    told: list[int] = []
    engine = open_engine(EngineConfig(device="cpu"), base_path(), threads=1)
    again = MicroNlp().run(subject(setting(limit=24), tmp_path, engine, told))
    assert ran == [scores[2].task]
    assert again == outcome
    assert sum(told) == 72
    MicroNlp().run(subject(setting(limit=24), tmp_path, None))  # nothing left to do: no engine is asked for
    assert ran == [scores[2].task]


def test_no_answer_of_one_model_reaches_another(use_model: Callable[[Any], None], tmp_path: Path) -> None:
    data = write_data(tmp_path / "data")
    asked = setting(data, nlp_tasks=("arc_easy",))
    before = set(tmp_path.rglob("*"))
    use_model(scripted(prefers_right))
    right = Nlp().run(subject(asked, tmp_path / "right"))
    use_model(scripted(lambda prompt, continuation: -prefers_right(prompt, continuation)))
    wrong = Nlp().run(subject(asked, tmp_path / "wrong"))
    assert (all_metrics(right)["arc_easy"], all_metrics(wrong)["arc_easy"]) == (1, 0)
    written = {p.name for p in set(tmp_path.rglob("*")) - before if p.is_file()}
    assert written == {"tasks.jsonl", "samples-arc_easy.jsonl"}


def test_model_tokenizer_logging_and_environment_stay_as_they_were(micro_engine: Any, tmp_path: Path) -> None:
    import transformers

    tokenizer = micro_engine.loaded.tokenizer
    padding, tokenizer.pad_token = tokenizer.pad_token, None  # many real tokenizers have none; lm-eval would set one
    root, own = logging.getLogger(), logging.getLogger("lm_eval")
    before = (root.level, list(root.handlers), own.level, transformers.logging.get_verbosity(), dict(os.environ))
    try:
        MicroNlp().run(subject(setting(limit=3), tmp_path, micro_engine))
        assert tokenizer.pad_token is None
    finally:
        tokenizer.pad_token = padding
    after = (root.level, list(root.handlers), own.level, transformers.logging.get_verbosity(), dict(os.environ))
    before[-1].setdefault("HF_XET_HIGH_PERFORMANCE", "1")  # lm-eval's import sets it
    assert after == before


def test_it_is_silent(micro_engine: Any, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    MicroNlp().run(subject(setting(limit=3), tmp_path, micro_engine))
    assert capfd.readouterr() == ("", "")


def test_an_engine_without_a_model_is_refused_with_the_way_out(skilled: Any, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"log-probabilities(.|\n)*engine\.kind=transformers(.|\n)*results_\*\.json"):
        MicroNlp().run(subject(setting(), tmp_path, skilled(0.5)))


@pytest.mark.slow
def test_batches_of_any_size_give_the_same_numbers(micro_engine: Any, tmp_path: Path) -> None:
    from leaderboards.nlp.model import LocalModel, evaluate_task

    found = []
    for tokens in (1, 300, 16384):
        lm = LocalModel(micro_engine.loaded, tokens_per_batch=tokens)
        results = [evaluate_task(lm, job.load()).metrics for job in MicroNlp().jobs(setting(limit=12))]
        found.append(results)
    assert found[0] == found[1] == found[2]


# --- the profile


@pytest.fixture
def profile_data(tmp_path: Path) -> Path:
    """Data of all tasks but MMLU."""
    return write_data(tmp_path / "data")


def writes_right(prompt: str) -> str:
    question = prompt.rpartition("Q: ")[2]
    if "plus" in question:
        number = int(question.split()[2]) + 1
        return f" It is {number}. The answer is {number}." if number != 2 else f" So it is {number}"
    return " ann lee"


@pytest.fixture(scope="module")
def whole_profile(tmp_path_factory: pytest.TempPathFactory) -> tuple[Outcome, Path, list[int]]:
    """All nine tasks; MMLU is right in the subjects that begin with f or later, which have twice as many questions."""
    from leaderboards.nlp.tasks import profile_tasks

    def choose(prompt: str, continuation: str) -> float:
        if "\nA. " not in prompt:
            return prefers_right(prompt, continuation)
        return 0.0 if continuation == (" A" if prompt.rpartition("\n\n")[2] > "f" else " B") else -9.0

    root, told = tmp_path_factory.mktemp("profile"), list[int]()
    data = write_data(root / "data", tuple(t.subject for t in profile_tasks(["mmlu"])))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(benchmark, "open_model", lambda subject: scripted(choose, writes_right))
        asked = setting(data)
        outcome = Nlp().run(subject(asked, root / "out", None, told))
    assert sum(told) == Nlp().plan(asked).units == len(outcome.rows)
    return outcome, root / "out", told


@pytest.mark.slow
def test_the_whole_profile(whole_profile: tuple[Outcome, Path, list[int]]) -> None:
    outcome = whole_profile[0]
    found = all_metrics(outcome)
    assert set(BUILT_IN["nlp@1"].metrics) <= found.keys()
    for task in ("arc_easy", "arc_challenge", "hellaswag", "siqa", "piqa", "openbookqa", "nq_open"):
        assert found[task] == 1, task
    assert found["gsm8k"] == pytest.approx(2 / 3)
    assert found["gsm8k/flexible-extract"] == 1
    assert found["gsm8k/no_answer"] == pytest.approx(1 / 3)
    subjects = [m for m in found if m.startswith("mmlu/")]
    right = [m for m in subjects if m.removeprefix("mmlu/") > "f"]
    assert len(subjects) == 57
    assert found["mmlu"] == pytest.approx(len(right) / 57)
    assert found["mmlu_micro"] == pytest.approx(4 * len(right) / (4 * len(right) + 2 * (57 - len(right))))
    assert found["average"] == pytest.approx((7 + 2 / 3 + len(right) / 57) / 9)
    assert outcome.comparability["profile"] == "srbench-nlp@1"
    assert all(len(r.detail["prompt"]) <= 400 for r in outcome.rows)


def test_means_over_rows_are_the_metrics_so_that_pairs_can_be_compared(
    whole_profile: tuple[Outcome, Path, list[int]],
) -> None:
    outcome, directory, _ = whole_profile
    by_rows = summarise(outcome.rows)
    for metric in ("average", "mmlu"):
        assert by_rows[metric].value == pytest.approx(outcome.metrics[metric].value)
    for scores in jsonl.read(directory / "tasks.jsonl", TaskScores):  # lm-eval's own numbers
        name = f"{scores.unit}/{scores.subject}" if scores.subject else scores.unit
        assert by_rows[name].value == pytest.approx(scores.metrics[scores.main])


def test_prompts_of_the_profile(profile_data: Path, use_model: Callable[[Any], None], tmp_path: Path) -> None:
    lm = scripted(prefers_right, writes_right)
    use_model(lm)
    names = ("arc_challenge", "siqa", "gsm8k", "nq_open", "hellaswag", "piqa")
    asked = setting(profile_data, nlp_tasks=names, nlp_limit=1)
    Nlp().run(subject(asked, tmp_path / "out"))
    plan, read = Nlp().plan(asked).answers, sum(len(p.encode()) for p in lm.prompts)
    assert read < plan.prompt_tokens < 3 * read
    assert (plan.calls, plan.completion_tokens) == (6, 2 * 256)  # of GSM8K and NQ one answer each
    by_task = {n: next(p for p in lm.prompts if mark in p) for n, mark in MARKS.items()}
    assert by_task["arc_challenge"].count("Question: Which planet") == 25
    assert by_task["arc_challenge"].endswith("\n\nQuestion: Which star is number 0?\nAnswer:")
    assert by_task["siqa"] == "Q: Which friend is number 0?\nA:"
    assert by_task["piqa"] == "Question: Which tool is number 0?\nAnswer:"
    assert by_task["gsm8k"].count("The answer is") == 8
    assert by_task["gsm8k"].endswith("\n\nQ: What is 0 plus 1?\nA:")
    assert by_task["nq_open"].count("who was number") == 5
    assert by_task["nq_open"].endswith("\nQ: who is number 0?\nA:")
    assert by_task["hellaswag"].count("dev ") == 10
    assert "[title]" not in by_task["hellaswag"]
    assert by_task["hellaswag"].endswith("\n\ntest 0 begins")


MARKS = {
    "arc_challenge": "star",
    "siqa": "friend",
    "piqa": "tool",
    "gsm8k": "plus",
    "nq_open": "who is",
    "hellaswag": "begins",
}


def test_equal_documents_are_two_rows_of_one_cluster(
    profile_data: Path, use_model: Callable[[Any], None], tmp_path: Path
) -> None:
    use_model(scripted(prefers_right))
    rows = Nlp().run(subject(setting(profile_data, nlp_tasks=("siqa",)), tmp_path / "out")).rows
    assert len({r.sample_id for r in rows}) == 6
    assert len({r.cluster for r in rows}) == 5


def test_a_row_that_cannot_be_read_is_counted_named_and_not_scored(
    profile_data: Path, use_model: Callable[[Any], None], tmp_path: Path
) -> None:
    file = profile_data / "nlp/commonsense/ARC-Easy/test.json"
    rows = json.loads(file.read_text())
    rows[1]["answer"] = "answer7"
    file.write_text(json.dumps(rows))
    use_model(scripted(prefers_right))
    outcome = Nlp().run(subject(setting(profile_data, nlp_tasks=("arc_easy",)), tmp_path / "out"))
    metric = summarise(outcome.rows)["arc_easy"]
    assert (metric.value, metric.n_scored, metric.n_total) == (1, 5, 6)
    (bad,) = [r for r in outcome.rows if r.value is None]
    assert (bad.reason, bad.sample_id) == ("unreadable_row", "arc_easy/nlp/commonsense/ARC-Easy/test.json row 2")


def test_what_the_numbers_depend_on_is_in_the_identity(profile_data: Path) -> None:
    names = tuple(t for t in TASKS if t != "mmlu")
    asked = setting(profile_data, nlp_tasks=names)
    base = Nlp().identity(asked)
    assert base == Nlp().identity(asked)
    assert base["profile"] == "custom"
    assert Nlp().identity(setting(profile_data, nlp_tasks=names, nlp_limit=2)) != base
    limits = ({"limit": 2}, {"nlp_limit": 2}, {"limit": 9, "nlp_limit": 2})
    assert (
        len({json.dumps(Nlp().identity(setting(profile_data, nlp_tasks=names, **x)), default=str) for x in limits}) == 1
    )
    assert Nlp().identity(setting(profile_data, nlp_tasks=names[1:])) != base
    write_lines(profile_data / "nlp/gsm8k/test.jsonl", [{"question": "What is 9 plus 1?", "answer": "#### 10"}])
    assert Nlp().identity(asked) != base


def test_a_failure_inside_lm_eval_is_an_error_of_ours(
    profile_data: Path, use_model: Callable[[Any], None], tmp_path: Path
) -> None:
    def breaks(prompt: str, continuation: str) -> float:
        raise RuntimeError("out of memory\nlong story")

    use_model(scripted(breaks))
    asked = subject(setting(profile_data, nlp_tasks=("piqa",)), tmp_path / "out")
    with pytest.raises(EngineError, match=r"piqa: RuntimeError: out of memory$"):
        Nlp().run(asked)
    use_model(scripted(prefers_right))
    assert all_metrics(Nlp().run(asked))["piqa"] == 1


def test_long_prompts_are_cut_as_lm_eval_does_it_and_counted(
    micro_engine: Any, profile_data: Path, tmp_path: Path
) -> None:
    asked = setting(profile_data, nlp_tasks=("arc_challenge", "piqa", "nq_open"), nlp_limit=2)
    found = Nlp().run(subject(asked, tmp_path / "out", micro_engine))
    cut = {r.detail["task"]: measures(r)["truncated_prompts"] for r in found.rows}
    assert cut["arc_challenge"] == 1  # 25 examples do not fit 512 tokens
    assert cut["piqa"] == 0
    assert all_metrics(found)["truncated_prompts"] == pytest.approx(sum(cut.values()) / 3)  # type: ignore[arg-type]


def test_a_context_too_short_to_generate_is_refused(micro_engine: Any, profile_data: Path, tmp_path: Path) -> None:
    import dataclasses

    short = copy.copy(micro_engine)
    short._loaded = dataclasses.replace(micro_engine.loaded, context=256)
    with pytest.raises(EngineError, match=r"up to 256 tokens.*holds 256"):
        Nlp().run(subject(setting(profile_data, nlp_tasks=("gsm8k",)), tmp_path / "out", short))


def test_every_task_of_the_profile_is_compared_between_checkpoints() -> None:
    assert {"average", *TASKS} <= set(Nlp.description.paired)
    assert set(Nlp.description.paired) <= set(BUILT_IN["nlp@1"].metrics)
    assert set(MicroNlp.description.paired) <= set(BUILT_IN["micro-nlp@1"].metrics)


@pytest.mark.slow
def test_other_tasks_are_lm_evals_own(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"'boolqq'(.|\n)*Did you mean 'boolq'"):
        Nlp().run(subject(setting(nlp_tasks=("boolqq",)), tmp_path))
    with pytest.raises(DataError, match=r"'boolq' cannot be had(.|\n)*HF_HUB_OFFLINE"):
        Nlp().run(subject(setting(nlp_tasks=("boolq",)), tmp_path))


def test_rows_are_stored_as_records(micro_outcome: tuple[Outcome, Path, list[int]]) -> None:
    files = sorted(p.name for p in micro_outcome[1].iterdir())
    assert files == [
        "samples-micro_choice.jsonl",
        "samples-micro_fact.jsonl",
        "samples-micro_sort.jsonl",
        "tasks.jsonl",
    ]
    rows = jsonl.read(micro_outcome[1] / "samples-micro_sort.jsonl", SampleScore, unique=lambda r: r.sample_id)
    assert len(rows) == 24
