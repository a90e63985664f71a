"""The table of benchmarks, and how a name is opened.

What users call its rows, and which belong together, is in ``suites``; what they are, in a room each.
"""

from __future__ import annotations

from typing import Final, cast

from leaderboards import brought
from leaderboards.base import Benchmark
from selfreward_bench.plugins import Table

__all__ = ["BENCHMARKS", "ROWS", "THIN", "open_benchmark"]

#: scored after every training on the embedded world
THIN: Final = ("micro-quality", "micro-judge-accuracy")

#: srbench's own: name -> "module:class"; resolved on first use
BENCHMARKS: Final[dict[str, str]] = {
    "micro-quality": "leaderboards.micro:MicroQuality",
    "micro-judge-accuracy": "leaderboards.judge_accuracy.micro:MicroJudgeAccuracy",
    "micro-alpaca-eval": "leaderboards.alpaca_eval.micro:MicroAlpacaEval",
    "micro-mt-bench": "leaderboards.mt_bench.benchmark:MicroMtBench",
    "micro-nlp": "leaderboards.nlp.benchmark:MicroNlp",
    "alpaca-eval": "leaderboards.alpaca_eval.benchmark:AlpacaEval",
    "mt-bench": "leaderboards.mt_bench.benchmark:MtBench",
    "nlp": "leaderboards.nlp.benchmark:Nlp",
    "ifeval": "leaderboards.ifeval.benchmark:IfEval",
    "judge-accuracy-oasst": "leaderboards.judge_accuracy.benchmark:OasstJudgeAccuracy",
    "judge-accuracy-llmbar": "leaderboards.judge_accuracy.benchmark:LLMBarJudgeAccuracy",
    "judge-accuracy-llmbar-processed": "leaderboards.judge_accuracy.benchmark:LLMBarProcessedJudgeAccuracy",
    "judge-accuracy-pandalm": "leaderboards.judge_accuracy.benchmark:PandaLMJudgeAccuracy",
    "judge-accuracy-pairs": "leaderboards.judge_accuracy.pairs:PairsJudgeAccuracy",
    "judge-accuracy-jsonl": "leaderboards.judge_accuracy.benchmark:JsonlJudgeAccuracy",
}

#: the rows, and what installed packages bring; the names reserved are what `suites.NAMES` calls some rows, too
ROWS: Final = Table(
    "benchmark", BENCHMARKS, "srbench.benchmarks", frozenset({"quality", "judge-accuracy", "head-to-head", "pairs"})
)


def open_benchmark(name: str) -> Benchmark:
    """The benchmark of a name: a row of ``BENCHMARKS``, what a package brings, or ``PATH.py:CLASS``.

    ``ROW:FILE`` and ``PATH.py:CLASS:FILE`` hand it a file (`docs/benchmarks/`).

    Raises:
        UnknownNameError: there is no such name.
        ConfigError: the benchmark needs a file and got none, or takes none.
        DataError, PluginError: it is brought by others and cannot be used.
    """
    row, _, file = name.partition(":")
    if row not in BENCHMARKS and (named := brought.named_file(name)):
        return brought.of_file(named)
    found = ROWS.load(row)
    if found.distribution:
        return brought.of_package(found, row, file)
    return cast(Benchmark, brought.made(found.value, row, file))
