"""IFEval from prompts to numbers: answered by a scripted model, or read from finished answers."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Mapping
from pathlib import Path

import pytest

from leaderboards.base import Finished, Outcome, Setting, Subject, measures, summarise, unscored
from leaderboards.harness import evaluate_model
from leaderboards.ifeval import IfEval
from leaderboards.ifeval.checker import MAX_CHARACTERS
from leaderboards.ifeval.files import KIND, PROMPTS, load_tasks
from leaderboards.metrics import BUILT_IN
from leaderboards.models import Model
from leaderboards.registry import open_benchmark
from selfreward_bench.config import EvalConfig, RunConfig
from selfreward_bench.engines.scripted import ScriptedEngine
from selfreward_bench.errors import DataError, MissingDependencyError
from selfreward_bench.sources.directory import DataDir

from .conftest import case, task

#: prompt 1: two instructions; 2: one; 3: one
TASKS = [
    task(case("no_comma"), case("quotation"), key=1),
    task(case("title"), key=2),
    task(case("json_format"), key=3),
]
GOOD = {"Prompt 1.": '"One."', "Prompt 2.": "<<Joy>> now", "Prompt 3.": "{}"}


@pytest.fixture
def data(tmp_path: Path) -> DataDir:
    path = tmp_path / "data" / PROMPTS
    path.parent.mkdir(parents=True)
    path.write_text("".join(t.model_dump_json() + "\n" for t in TASKS), encoding="utf-8")
    return DataDir(tmp_path / "data")


def setting(data: DataDir, finished: Path | None = None, **settings: object) -> Setting:
    config = RunConfig(eval=EvalConfig.model_validate(settings))
    return Setting(config, data, finished=Finished(KIND, finished) if finished else None)


def engine(texts: Mapping[str, str], failures: Mapping[str, str] | None = None) -> ScriptedEngine:
    """Answers as told; requests that fail yield nothing."""
    made = ScriptedEngine(texts)
    lost = dict(failures or {})
    answer = made.generate

    def generate(requests, done=()):  # type: ignore[no-untyped-def]  # as the engine's
        made.failures = lost
        return answer([r for r in requests if r.id not in lost], done)

    made.generate = generate  # type: ignore[method-assign]
    return made


def run(tmp_path: Path, made: ScriptedEngine | None, used: Setting) -> Outcome:
    def opened() -> ScriptedEngine:
        assert made is not None
        return made

    folder = tmp_path / "out"
    folder.mkdir(exist_ok=True)
    return IfEval().run(Subject("M1", opened, used, folder, lambda _: None))


def values(outcome: Outcome) -> dict[str, float | None]:
    return {n: m.value for n, m in summarise(outcome.rows, IfEval.key).items()}


@pytest.mark.slow
def test_prompts_and_instructions_are_counted_strictly_and_loosely(tmp_path: Path, data: DataDir) -> None:
    answers = GOOD | {"Prompt 1.": '"One, two."', "Prompt 2.": "Joy", "Prompt 3.": "Sure:\n{}"}
    found = values(run(tmp_path, engine(answers), setting(data)))
    assert found["prompt_level_strict_acc"] == 0
    assert found["prompt_level_loose_acc"] == pytest.approx(1 / 3)
    assert found["inst_level_strict_acc"] == 1 / 4
    assert found["inst_level_loose_acc"] == 2 / 4
    assert {n: v for n, v in found.items() if "/" in n} == {
        "inst_level_strict_acc/punctuation": 0,
        "inst_level_strict_acc/startend": 1,
        "inst_level_strict_acc/detectable_format": 0,
    }
    assert found["chars"] == pytest.approx((11 + 3 + 8) / 3)
    assert {n for n in found if "/" not in n} == set(BUILT_IN["ifeval@1"].metrics) - {"other_prompts"}
    assert {n for n in found if "/" in n} <= set(BUILT_IN["ifeval@1"].paired)


def test_instructions_of_a_prompt_are_one_cluster(tmp_path: Path, data: DataDir) -> None:
    rows = run(tmp_path, engine(GOOD), setting(data)).rows
    assert [(r.sample_id, r.cluster) for r in rows] == [
        ("1", "1"),
        ("1/instruction-0", "1"),
        ("1/instruction-1", "1"),
        ("2", "2"),
        ("2/instruction-0", "2"),
        ("3", "3"),
        ("3/instruction-0", "3"),
    ]
    assert rows[0].detail["judgment"] == "punctuation:no_comma: followed\nstartend:quotation: followed"
    assert (rows[0].detail["prompt"], rows[0].detail["answer"]) == ("Prompt 1.", '"One."')


def test_it_is_asked_greedily_through_the_chat_template(tmp_path: Path, data: DataDir) -> None:
    made = engine(GOOD)
    run(tmp_path, made, setting(data, ifeval_max_new_tokens=9, limit=2))
    assert [(r.id, r.prompt[0].role, r.prompt[0].content) for r in made.requests] == [  # type: ignore[union-attr]
        ("1", "user", "Prompt 1."),
        ("2", "user", "Prompt 2."),
    ]
    assert {(r.temperature, r.max_new_tokens, r.stop) for r in made.requests} == {(0, 9, ())}  # type: ignore[union-attr]
    assert RunConfig().eval.ifeval_max_new_tokens == 1280


def test_a_truncated_answer_is_scored_as_it_stands_and_counted(tmp_path: Path, data: DataDir) -> None:
    outcome = run(tmp_path, engine(GOOD | {"Prompt 2.": "<<Joy>> and more"}), setting(data, ifeval_max_new_tokens=2))
    by_id = {r.sample_id: measures(r) for r in outcome.rows}
    assert (by_id["2"]["truncated"], by_id["2"]["prompt_level_strict_acc"]) == (1, 1)
    assert by_id["1"]["truncated"] == 0


def test_what_has_no_answer_has_no_score_and_a_reason(tmp_path: Path, data: DataDir) -> None:
    lost = {"1": "refused", "2": "http_500"}
    outcome = run(tmp_path, engine(GOOD, lost), setting(data))
    assert unscored(outcome.rows) == {"refused": 3, "http_500": 2}
    assert outcome.incomplete == 1  # a refusal is not asked for again
    found = summarise(outcome.rows, IfEval.key)
    assert (found["prompt_level_strict_acc"].value, found["prompt_level_strict_acc"].n_scored) == (1, 1)
    assert found["prompt_level_strict_acc"].n_total == 3


def test_answers_are_resumed(tmp_path: Path, data: DataDir) -> None:
    run(tmp_path, engine(GOOD, {"2": "http_500"}), setting(data))
    again = engine(dict.fromkeys(GOOD, "never asked") | {"Prompt 2.": "<<Joy>>"})
    again.batch_size = 1
    found = values(run(tmp_path, again, setting(data)))
    assert [r.id for r in again.requests] == ["2"]
    assert found["prompt_level_strict_acc"] == 1


@pytest.mark.parametrize(
    ("answer", "reason"),
    [("[" * 30_000, "checker_failed: RecursionError"), ("x" * (MAX_CHARACTERS + 1), "too_long_to_check")],
)
def test_what_the_checker_cannot_take_is_told(tmp_path: Path, data: DataDir, answer: str, reason: str) -> None:
    outcome = run(tmp_path, engine(GOOD | {"Prompt 3.": answer}), setting(data, ifeval_max_new_tokens=10**6))
    assert unscored(outcome.rows) == {reason: 2}
    assert outcome.incomplete == 0  # the same answer would come again
    assert max(len(r.detail.get("answer", "")) for r in outcome.rows) <= 2_000


def test_finished_answers_need_no_model(tmp_path: Path, data: DataDir) -> None:
    path = tmp_path / "responses.jsonl"
    rows = [{"prompt": p, "response": a} for p, a in GOOD.items() if p != "Prompt 2."]
    path.write_text("".join(json.dumps(r) + "\n" for r in [*rows, {"prompt": "Q", "response": "A"}]), encoding="utf-8")
    used = setting(data, path)
    outcome = run(tmp_path, None, used)
    assert values(outcome)["prompt_level_strict_acc"] == 1
    assert unscored(outcome.rows) == {"no_answer": 2}
    assert (outcome.incomplete, outcome.metrics["other_prompts"].value) == (0, 1)
    assert "truncated" not in values(outcome)
    assert IfEval().plan(used).units == 0
    limited = setting(data, path, limit=1)
    assert len(run(tmp_path, None, limited).rows) == 3


def test_the_plan_bounds_the_tokens(data: DataDir) -> None:
    calls = IfEval().plan(setting(data)).answers
    assert (calls.calls, calls.prompt_tokens, calls.completion_tokens) == (3, 3 * len("Prompt 1."), 3 * 1280)
    assert IfEval().plan(setting(data, limit=1)).units == 1


def test_numbers_under_other_conditions_are_other_numbers(tmp_path: Path, data: DataDir) -> None:
    same = setting(data)
    for changed in (setting(data, limit=1), setting(data, ifeval_max_new_tokens=5)):
        assert IfEval().identity(changed) != IfEval().identity(same)
        a, b = (run(tmp_path, engine(GOOD), s).comparability for s in (same, changed))
        assert a != b
        assert a["checker"] == b["checker"]
    assert "lm_eval" in str(IfEval().identity(same)["checker"])


def test_what_the_checker_lacks_is_told_before_anything_is_generated(
    tmp_path: Path, data: DataDir, monkeypatch: pytest.MonkeyPatch
) -> None:
    def missing() -> str:
        raise MissingDependencyError("pip install langdetect")

    monkeypatch.setattr("leaderboards.ifeval.benchmark.versions", missing)
    made = engine(GOOD)
    model = Model("M1", "weights", lambda: made)
    with pytest.raises(MissingDependencyError, match="pip install"):
        evaluate_model(model, {"ifeval": setting(data)}, out_dir=tmp_path / "eval")
    assert made.requests == []
    with pytest.raises(MissingDependencyError):
        IfEval().plan(setting(data))


def test_missing_data_name_the_command(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="srbench data pull ifeval"):
        IfEval().plan(setting(DataDir(tmp_path)))
    assert isinstance(open_benchmark("ifeval"), IfEval)


@pytest.mark.slow
@pytest.mark.skipif("SRBENCH_DATA_DIR" not in os.environ, reason="needs the real data")
def test_the_real_prompts_are_all_understood(tmp_path: Path) -> None:
    real = DataDir(Path(os.environ["SRBENCH_DATA_DIR"]))
    tasks = load_tasks(real)
    assert (len(tasks), sum(len(t.instruction_id_list) for t in tasks)) == (541, 834)
    families = {i.partition(":")[0] for t in tasks for i in t.instruction_id_list}
    declared = {p.partition("/")[2] for p in BUILT_IN["ifeval@1"].paired if "/" in p}
    assert families == declared
    outcome = run(tmp_path, engine({"*": "I will not."}), setting(real))
    assert unscored(outcome.rows) == {}
    assert len(outcome.rows) == 541 + 834
    found: Callable[[str], float | None] = values(outcome).get
    assert 0 < (found("inst_level_strict_acc") or 0) < 1
