"""srbench from Python: everything that is meant to be used by others, under one name.

    import srbench

    run = srbench.Run("runs/mine", recipe="micro-fast")
    run.run_iteration(until="M2")
    run.results.metrics("quality")

What each name is loaded from stands in one table. Nothing is loaded before it is used (docs/python.md).
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Final

from selfreward_bench import __version__

if TYPE_CHECKING:
    from selfreward_bench.cli.progress import RichReporter
    from selfreward_bench.config import EngineConfig, JudgeConfig, RunConfig
    from selfreward_bench.engines import open_engine
    from selfreward_bench.engines.base import GenerationRequest
    from selfreward_bench.engines.scripted import ScriptedEngine
    from selfreward_bench.errors import (
        ConfigError,
        DataError,
        EngineError,
        IncompatibleRunError,
        LoopViolation,
        MissingDependencyError,
        PluginError,
        SrbenchError,
        Terminated,
        TrainingError,
        UnknownNameError,
    )
    from selfreward_bench.judges.pointwise import JudgeItem, PointwiseJudge
    from selfreward_bench.judges.prompts import load_judge_prompt
    from selfreward_bench.progress import Reporter
    from selfreward_bench.recipes import describe as recipes
    from selfreward_bench.types import Completion, EvalResult, Judgment, Message, Metric, Prompt
    from srbench.results import Evaluation, Pairing, compare, evaluate, load_results
    from srbench.runs import Run, load_recipe, report, run_iteration
    from trainers.iteration import Iteration

__all__ = [
    "Completion",
    "ConfigError",
    "DataError",
    "EngineConfig",
    "EngineError",
    "EvalResult",
    "Evaluation",
    "GenerationRequest",
    "IncompatibleRunError",
    "Iteration",
    "JudgeConfig",
    "JudgeItem",
    "Judgment",
    "LoopViolation",
    "Message",
    "Metric",
    "MissingDependencyError",
    "Pairing",
    "PluginError",
    "PointwiseJudge",
    "Prompt",
    "Reporter",
    "RichReporter",
    "Run",
    "RunConfig",
    "ScriptedEngine",
    "SrbenchError",
    "Terminated",
    "TrainingError",
    "UnknownNameError",
    "__version__",
    "compare",
    "evaluate",
    "load_judge_prompt",
    "load_recipe",
    "load_results",
    "open_engine",
    "recipes",
    "report",
    "run_iteration",
]

#: module -> the names it gives; ``public = own`` where the name there is another one
_NAMES: Final = {
    "selfreward_bench.cli.progress": "RichReporter",
    "selfreward_bench.config": "EngineConfig JudgeConfig RunConfig",
    "selfreward_bench.engines": "open_engine",
    "selfreward_bench.engines.base": "GenerationRequest",
    "selfreward_bench.engines.scripted": "ScriptedEngine",
    "selfreward_bench.errors": (
        "ConfigError DataError EngineError IncompatibleRunError LoopViolation MissingDependencyError PluginError "
        "SrbenchError Terminated TrainingError UnknownNameError"
    ),
    "selfreward_bench.judges.pointwise": "JudgeItem PointwiseJudge",
    "selfreward_bench.judges.prompts": "load_judge_prompt",
    "selfreward_bench.progress": "Reporter",
    "selfreward_bench.recipes": "recipes=describe",
    "selfreward_bench.types": "Completion EvalResult Judgment Message Metric Prompt",
    "srbench.results": "Evaluation Pairing compare evaluate load_results",
    "srbench.runs": "Run load_recipe report run_iteration",
    "trainers.iteration": "Iteration",
}
_PLACES: Final = {
    name.partition("=")[0]: (module, name.rpartition("=")[2])
    for module, names in _NAMES.items()
    for name in names.split()
}


if not TYPE_CHECKING:  # to a type checker any name would be there

    def __getattr__(name: str) -> object:
        """Imports what is asked for."""
        if name not in _PLACES:
            from selfreward_bench.errors import did_you_mean

            raise AttributeError(f"module {__name__!r} has no attribute {name!r}.{did_you_mean(name, __all__)}")
        module, own = _PLACES[name]
        globals()[name] = found = getattr(importlib.import_module(module), own)
        return found


def __dir__() -> list[str]:
    return sorted({*__all__, *(name for name in globals() if name.startswith("__"))})
