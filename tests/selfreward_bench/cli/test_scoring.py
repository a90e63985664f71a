"""What is scored after each iteration: the micro-world on itself, a real model on real data or on nothing."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from leaderboards.base import Setting
from leaderboards.models import Model
from selfreward_bench import recipes
from selfreward_bench.cli.scoring import evaluate_models
from selfreward_bench.errors import EngineError
from selfreward_bench.progress import Silent
from selfreward_bench.storage.rundir import RunDir


class Listener(Silent):
    def __init__(self) -> None:
        self.said: list[str] = []

    def message(self, text: str) -> None:
        self.said.append(text)


@pytest.fixture
def evaluated(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, dict[str, int | None]]]:
    """What the harness is asked for, model by model: row -> limit. No model is loaded."""
    asked: list[tuple[str, dict[str, int | None]]] = []

    def evaluate(model: Model, settings: Mapping[str, Setting], **_: Any) -> list[Any]:
        limits = {name: s.config.eval for name, s in settings.items()}
        asked.append((model.name, {n: e.nlp_limit if n == "nlp" else e.limit for n, e in limits.items()}))
        return []

    monkeypatch.setattr("leaderboards.session.evaluate_model", evaluate)
    monkeypatch.setattr("leaderboards.models.fingerprint_of", lambda path, finished=False: "f" * 32)
    return asked


def real_run(tmp_path: Path, *settings: str) -> RunDir:
    """A run whose base is no model of the micro-world."""
    run = RunDir.create(tmp_path / "run", recipes.load("micro", ["base=owner/name", *settings]))
    (run.path / "M1" / "checkpoint").mkdir(parents=True)
    (run.path / "M1" / "checkpoint" / "config.json").write_text("{}")
    return run


def test_a_real_model_is_never_asked_the_toy_language(
    tmp_path: Path, evaluated: list[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SRBENCH_DATA_DIR", str(tmp_path / "none"))
    listener = Listener()
    evaluate_models(real_run(tmp_path), ["M1"], listener)
    assert evaluated == []
    (said,) = listener.said
    assert "Nothing was scored" in said
    assert "srbench data pull" in said
    assert "srbench eval --run" in said


def test_it_is_scored_on_the_data_there_are(
    tmp_path: Path, evaluated: list[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("leaderboards.session.plan_row", only("nlp"))
    listener = Listener()
    settings = ["eval.after_limit=7", "eval.limit=null", "eval.nlp_limit=400"]  # that is of a whole evaluation
    evaluate_models(real_run(tmp_path, *settings), ["M1"], listener)
    assert evaluated == [("M1", {"nlp": 7})]
    assert "Scored on nlp, 7 items of each" in listener.said[-1]


def only(row: str) -> Any:
    from leaderboards.planning import Plan, Planned

    return lambda entry, name, setting: Planned("M1", name, False, Plan(), "" if name == row else "no data")


def test_what_the_recipe_names_is_scored_and_what_is_lacking_fails_then(
    tmp_path: Path, evaluated: list[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SRBENCH_DATA_DIR", str(tmp_path / "none"))
    evaluate_models(real_run(tmp_path, "eval.after_iteration=[judge-accuracy-llmbar]"), ["M1"], Listener())
    assert [list(rows) for _, rows in evaluated] == [["judge-accuracy-llmbar"]]


def test_nothing_is_scored_where_the_recipe_says_so(tmp_path: Path, evaluated: list[Any]) -> None:
    listener = Listener()
    evaluate_models(real_run(tmp_path, "eval.after_iteration=[]"), ["M1"], listener)
    assert (evaluated, listener.said) == ([], [])


def test_an_evaluation_that_fails_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: Any, **__: Any) -> None:
        raise EngineError("M1 cannot answer.")

    monkeypatch.setattr("leaderboards.session.evaluate_model", fail)
    monkeypatch.setattr("leaderboards.models.fingerprint_of", lambda path, finished=False: "f" * 32)
    with pytest.raises(EngineError, match="M1 cannot answer"):
        evaluate_models(real_run(tmp_path, "eval.after_iteration=[judge-accuracy-llmbar]"), ["M1"], Listener())
