"""Which benchmarks are meant, of the micro-world or on real data, and with which settings where a user gives none."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Literal

from leaderboards.brought import named_file
from leaderboards.registry import ROWS
from selfreward_bench.config import RunConfig
from selfreward_bench.errors import ConfigError, UnknownNameError
from selfreward_bench.micro import base_path
from selfreward_bench.models.candidates import Candidate
from selfreward_bench.storage.adapters import parts
from selfreward_bench.storage.rundir import RunDir, hash_file

__all__ = [
    "AFTER_ITERATION",
    "HEAD_TO_HEAD",
    "NAMES",
    "NO_ROWS",
    "PAIRS",
    "SUITES",
    "Suite",
    "World",
    "after_iteration",
    "bounded",
    "chosen",
    "default_config",
    "default_suite",
    "run_of",
    "world_of",
]

World = Literal["micro", "real"]

HEAD_TO_HEAD: Final = "head-to-head"
PAIRS: Final = "pairs"
#: what is of several models, or of what a model was trained on: no rows of `leaderboards.registry.BENCHMARKS`
NO_ROWS: Final = (HEAD_TO_HEAD, PAIRS)

#: what a user calls srbench's own benchmarks -> their rows in `leaderboards.registry.BENCHMARKS`
NAMES: Final[dict[World, dict[str, str]]] = {
    "micro": {
        "quality": "micro-quality",
        "judge-accuracy": "micro-judge-accuracy",
        "alpaca-eval": "micro-alpaca-eval",
        "mt-bench": "micro-mt-bench",
        "nlp": "micro-nlp",
        HEAD_TO_HEAD: HEAD_TO_HEAD,
        PAIRS: PAIRS,
    },
    "real": {
        "alpaca-eval": "alpaca-eval",
        "mt-bench": "mt-bench",
        "nlp": "nlp",
        "ifeval": "ifeval",
        HEAD_TO_HEAD: HEAD_TO_HEAD,
        PAIRS: PAIRS,
        "judge-accuracy": "judge-accuracy-oasst",
        "judge-accuracy-oasst": "judge-accuracy-oasst",
        "judge-accuracy-llmbar": "judge-accuracy-llmbar",
        "judge-accuracy-llmbar-processed": "judge-accuracy-llmbar-processed",
        "judge-accuracy-pandalm": "judge-accuracy-pandalm",
        "judge-accuracy-pairs": "judge-accuracy-pairs",
        "judge-accuracy-jsonl": "judge-accuracy-jsonl",
    },
}


@dataclass(frozen=True, slots=True)
class Suite:
    """Benchmarks that belong together; ``limit`` bounds each benchmark's items unless the user says otherwise."""

    benchmarks: tuple[str, ...]
    limit: int | None = None


SUITES: Final[dict[str, Suite]] = {
    "quick": Suite(("alpaca-eval", "mt-bench", "nlp", "judge-accuracy"), limit=32),
    "paper": Suite(("alpaca-eval", "mt-bench", "nlp", HEAD_TO_HEAD, "judge-accuracy")),
    "micro": Suite(("quality", "judge-accuracy", "alpaca-eval", "mt-bench", "nlp", HEAD_TO_HEAD)),
}


#: what is scored after each iteration where a recipe names nothing; on real data, what of it there is data for. Nobody
#: but the model itself is asked.
AFTER_ITERATION: Final[dict[World, tuple[str, ...]]] = {
    "micro": ("quality", "judge-accuracy"),
    "real": ("judge-accuracy", "nlp"),
}
AFTER_TASKS: Final = ("arc_easy", "piqa", "openbookqa")  # of the NLP profile: without worked examples, so short


def after_iteration(config: RunConfig, world: World) -> tuple[tuple[str, ...], RunConfig]:
    """The benchmarks scored after each iteration, and the settings they are run with.

    On real data each is bounded (``eval.after_limit``), and the NLP tasks are few unless the recipe names some.
    """
    names = AFTER_ITERATION[world] if config.eval.after_iteration is None else config.eval.after_iteration
    if world == "micro":
        return names, config
    limit = min(config.eval.after_limit, config.eval.limit or config.eval.after_limit)
    changed: dict[str, object] = {"limit": limit, "nlp_limit": min(limit, config.eval.nlp_limit or limit)}
    if config.eval.after_iteration is None and config.eval.nlp_tasks is None:
        changed["nlp_tasks"] = AFTER_TASKS
    return names, config.model_copy(update={"eval": config.eval.model_copy(update=changed)})


def default_suite(world: World) -> str:
    """``micro`` for the micro-world, ``paper`` otherwise."""
    return "micro" if world == "micro" else "paper"


def chosen(names: Sequence[str], world: World) -> list[str]:
    """What names mean in a world, as ``registry.open_benchmark`` takes it, each once, in the order given.

    ``NAME:FILE`` keeps its file. What a package brings, and ``PATH.py:CLASS``, mean the same in both worlds.

    Raises:
        UnknownNameError: a name means nothing in that world.
        PluginError: a package brings a name that is srbench's own.
    """
    known = NAMES[world]
    own = {*known, *known.values()}
    found = []
    for text in names:
        name, colon, file = text.partition(":")
        ROWS.check(name)
        if name in own:
            found.append(known.get(name, name) + colon + file)
        elif name not in _elsewhere(world) and (named_file(text) or ROWS.brings(name)):
            found.append(text)
        else:
            raise UnknownNameError(f"benchmark ({world} data)", name, {*own, *ROWS.names()} - _elsewhere(world))
    return list(dict.fromkeys(found))


def _elsewhere(world: World) -> set[str]:
    """Names of the other world's benchmarks that mean nothing in this one."""
    others = {name for other, rows in NAMES.items() if other != world for name in (*rows, *rows.values())}
    return others - {*NAMES[world], *NAMES[world].values()}


def world_of(candidates: Iterable[Candidate], given: str | None = None) -> World:
    """The world that models belong to: ``micro`` for those made from the embedded base, ``real`` for all others.

    A directory belongs to the micro-world by its tokenizer. Finished files are of real data and follow the models.

    Args:
        given: the user's own choice, which decides alone.

    Raises:
        ConfigError: ``given`` is neither ``micro`` nor ``real``, or the models are of both worlds.
        IncompatibleRunError: the run of a model cannot be opened.
    """
    if given in ("micro", "real"):
        return given  # type: ignore[return-value]  # one of the two literals, as just tested
    if given is not None:
        raise ConfigError(f"There is no world {given!r}; take `micro` (the embedded one) or `real`.")
    worlds = {c.name: _world(c) for c in candidates if c.kind != "finished"}
    if len(set(worlds.values())) > 1:
        micro = ", ".join(name for name, world in worlds.items() if world == "micro")
        raise ConfigError(
            f"Some of these models belong to the embedded micro-world ({micro}) and some do not: one prompt set cannot "
            "serve both. Evaluate them apart, or say which data to take: --world micro or --world real."
        )
    return next(iter(worlds.values()), "real")


def _world(candidate: Candidate) -> World:
    if candidate.run is not None and RunDir.open(candidate.run).config.base == "micro":
        return "micro"
    tokenizer = parts(candidate.path).tokenizer / "tokenizer.json" if candidate.path else None
    if tokenizer is None or not tokenizer.is_file():
        return "real"
    return "micro" if hash_file(tokenizer) == hash_file(base_path() / "tokenizer.json") else "real"


# --- settings


def run_of(candidates: Iterable[Candidate]) -> Path | None:
    """The run that all of them are models of."""
    runs = {c.run for c in candidates}
    return runs.pop() if len(runs) == 1 else None


def default_config(world: World, changes: Sequence[str] = ()) -> RunConfig:
    """How models outside a run are evaluated: as the recipe ``micro`` says, or, on real data, by the plain defaults.

    Args:
        changes: ``key.path=value`` each, as with ``--set``.

    Raises:
        ConfigError: a change cannot be made.
    """
    from selfreward_bench import recipes

    if world == "micro":
        return recipes.load("micro", changes)
    return recipes.load(None, ["name=eval", "threads=null", *changes])


def bounded(config: RunConfig, limit: int | None, seed: int | None = None) -> RunConfig:
    """The settings with ``eval.limit`` and ``seed`` set; None leaves them as they are.

    Raises:
        ConfigError: a number cannot be used.
    """
    from selfreward_bench import recipes

    asked = [recipes.Layer({"eval": {"limit": limit}}, {("eval", "limit"): "limit"})] if limit is not None else []
    asked += [recipes.Layer({"seed": seed}, {("seed",): "seed"})] if seed is not None else []
    return recipes.resolve([recipes.Layer(config.model_dump()), *asked], "What was asked") if asked else config
