"""A run whose models have answered the micro-world's prompts, and raters of its sheet."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path

import pytest

from leaderboards.human.drawing import draw
from leaderboards.human.records import Key, Sheet
from leaderboards.micro import test_prompts as prompts_of
from selfreward_bench import recipes
from selfreward_bench.storage import jsonl
from selfreward_bench.storage.rundir import RunDir
from selfreward_bench.types import Completion

Write = Callable[[str, Mapping[str, str]], Path]


def answered(run: RunDir, model: str, answer: Callable[[int, str], str], n: int = 80) -> None:
    """Stores a model's answers to the first prompts: of the number of the prompt and its id."""
    folder = run.path / model / "eval" / "micro-quality@1"
    folder.mkdir(parents=True)
    records = [
        Completion(prompt_id=p.id, index=0, text=answer(i, p.id), n_tokens=3, finish_reason="stop", seed=1)
        for i, p in enumerate(prompts_of(run.config)[:n])
    ]
    jsonl.write(folder / "answers.jsonl", records)


@pytest.fixture
def run(tmp_path: Path) -> RunDir:
    """M1, M2 and SFT; every tenth answer of M1 and M2 is the same."""
    made = RunDir.create(tmp_path / "runs" / "first", recipes.load("micro"))
    for model in ("M1", "M2", "SFT"):
        answered(made, model, lambda i, _, model=model: "Same." if i % 10 == 0 else f"An answer, {model.lower()} {i}.")
    return made


@pytest.fixture
def sheet(run: RunDir) -> Sheet:
    """M2 against M1 on all prompts."""
    return draw(run.path, [("M2", "M1")], 80, 0)


@pytest.fixture
def write(tmp_path: Path, sheet: Sheet) -> Write:
    """Writes a rater's file: item -> what stands in the column ``choice``; all others are empty."""

    def written(name: str, choices: Mapping[str, str]) -> Path:
        path = tmp_path / name
        rows = [f"{sheet.key.sheet},{item.id},{choices.get(item.id, '')}" for item in sheet.key.items]
        path.write_text("\n".join(["sheet,item,choice", *rows, ""]), encoding="utf-8")
        return path

    return written


def choice(key: Key, item: str, outcome: str) -> str:
    """What a rater presses who finds that ``a`` wins, loses or ties."""
    first = next(i.first for i in key.items if i.id == item)
    return {"win": "1" if first == "a" else "2", "loss": "2" if first == "a" else "1", "tie": "3"}[outcome]
