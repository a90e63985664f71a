"""Which answers people compare: those that the models of a run gave when they were evaluated, to the same prompts."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from leaderboards import standings
from leaderboards.alpaca_eval import files
from leaderboards.head_to_head.answers import hash_prompts, instruction_prompt, read_entry
from leaderboards.head_to_head.benchmark import HEAD_TO_HEAD
from leaderboards.micro import MicroQuality, test_prompts
from selfreward_bench.config import RunConfig
from selfreward_bench.errors import DataError
from selfreward_bench.storage import jsonl
from selfreward_bench.storage.rundir import RunDir
from selfreward_bench.types import Completion, Prompt

__all__ = ["SOURCES", "Answers", "find"]

_ALPACA: Final = "alpaca-eval@1"
_OUTPUTS: Final = "model_outputs.json"
_PROMPTS: Final = "prompts.jsonl"


@dataclass(frozen=True)
class Answers:
    """The answers of some models to the same prompts.

    Attributes:
        source: the benchmark they were given for.
        prompts: in its order; those that every model has answered.
        texts: model -> prompt id -> answer.
        checkpoints: model -> fingerprint of the weights that answered; empty where it is not known.
    """

    source: str
    prompts: tuple[Prompt, ...]
    texts: Mapping[str, Mapping[str, str]]
    checkpoints: Mapping[str, str]


def find(root: Path, models: Sequence[str]) -> Answers:
    """The answers of the first benchmark that all of these models have answered.

    Raises:
        DataError: there is none, or its files are damaged.
    """
    lacking = []
    for name, source in SOURCES.items():
        try:
            found = source(root, models)
        except FileNotFoundError:
            lacking.append(name)
            continue
        if found.prompts:
            return found
        lacking.append(name)
    raise DataError(
        f"{root}: there is no benchmark whose prompts {', '.join(models)} have all answered (looked for "
        f"{', '.join(lacking)}). Evaluate them first: srbench eval --run {root}"
    )


def _head_to_head(root: Path, models: Sequence[str]) -> Answers:
    path = root / standings.MATCHES / _PROMPTS
    prompts = jsonl.read(_there(path), Prompt, unique=lambda p: p.id)
    entries = {}
    for model in models:
        folder = root / model / "eval" / HEAD_TO_HEAD
        _there(folder / "answers.jsonl")
        entries[model] = read_entry(model, folder)
        if entries[model].prompts != hash_prompts(prompts):
            raise FileNotFoundError(folder)
    texts = {model: {i: c.text for i, c in e.answers.items()} for model, e in entries.items()}
    return _common(HEAD_TO_HEAD, prompts, texts, {model: e.fingerprint for model, e in entries.items()})


def _micro(root: Path, models: Sequence[str]) -> Answers:
    texts = {}
    for model in models:
        path = _there(root / model / "eval" / MicroQuality.key / "answers.jsonl")
        found = jsonl.resume(path, Completion, unique=lambda c: c.id)
        texts[model] = {c.prompt_id: c.text for c in found if c.index == 0}
    is_run = (root / "srbench.yaml").is_file()  # else evaluations in a run's layout
    prompts = test_prompts(RunDir.open(root).config if is_run else RunConfig())
    return _common(MicroQuality.key, prompts, texts, _fingerprints(root, models, MicroQuality.key))


def _alpaca(root: Path, models: Sequence[str]) -> Answers:
    texts: dict[str, dict[str, str]] = {}
    prompts: dict[str, Prompt] = {}
    for model in models:
        rows = files.read_outputs(_there(root / model / "eval" / _ALPACA / _OUTPUTS))
        asked = {row.instruction: row.output for row in rows if row.output is not None}
        named = {text: instruction_prompt(text, _ALPACA) for text in asked}
        texts[model] = {named[text].id: output for text, output in asked.items()}
        prompts = prompts or {p.id: p for p in named.values()}
    return _common(_ALPACA, list(prompts.values()), texts, _fingerprints(root, models, _ALPACA))


def _there(path: Path) -> Path:
    if not path.is_file():
        raise FileNotFoundError(path)
    return path


def _fingerprints(root: Path, models: Sequence[str], key: str) -> dict[str, str]:
    paths = {model: root / model / "eval" / key / standings.RESULT for model in models}
    return {m: standings.read_result(path).fingerprint if path.is_file() else "" for m, path in paths.items()}


def _common(
    source: str, prompts: Sequence[Prompt], texts: Mapping[str, Mapping[str, str]], checkpoints: Mapping[str, str]
) -> Answers:
    everybody = tuple(p for p in prompts if all(p.id in of_one for of_one in texts.values()))
    return Answers(source, everybody, texts, checkpoints)


#: benchmark -> how its answers are read; the first that all models have is taken
SOURCES: Final = {HEAD_TO_HEAD: _head_to_head, MicroQuality.key: _micro, _ALPACA: _alpaca}
