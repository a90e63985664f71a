"""Results from Python: evaluated now or earlier, compared, and shown in a notebook."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Unpack

from leaderboards import evaluation
from leaderboards.comparing import records
from leaderboards.evaluation import Names, listed

if TYPE_CHECKING:
    import pandas as pd

    from leaderboards.session import Options
    from selfreward_bench.config import RunConfig
    from selfreward_bench.progress import Reporter

__all__ = ["Evaluation", "Pairing", "compare", "evaluate", "load_results"]


class Evaluation(evaluation.Evaluation):
    """What came of an evaluation, with ``metrics()`` and ``samples()`` as tables; a notebook shows the main metrics."""

    def __repr__(self) -> str:
        models = ", ".join(dict.fromkeys(r.checkpoint for r in self.results)) or "nothing"
        benchmarks = ", ".join(dict.fromkeys(r.benchmark for r in self.results))
        failed = f"; {len(self.errors)} failed" if self.errors else ""
        return f"Evaluation({str(self.root)!r}: {models}{f' on {benchmarks}' if benchmarks else ''}{failed})"

    def _repr_html_(self) -> str:
        from reports import notebook

        return notebook.evaluation(self)


class Pairing(records.Pairing):
    """Two checkpoints' stored results against each other; a notebook shows the main differences."""

    def differences(self) -> pd.DataFrame:
        """One row per benchmark and metric: both values and, where they can be compared, ``b - a`` with its interval.

        ``p_value`` is adjusted for there being several benchmarks (Holm) and there for main metrics alone; ``n`` counts
        the samples that both have.
        """
        import pandas as pd

        rows = [
            {
                "benchmark": of.benchmark,
                "metric": m.metric,
                "a": m.a.value if m.a else None,
                "b": m.b.value if m.b else None,
                **({k: getattr(m.difference, k) for k in ("value", "low", "high", "n")} if m.difference else {}),
                "p_value": m.p_holm,
                "main": m.main,
            }
            for of in self.benchmarks
            for m in of.metrics
        ]
        columns = ["benchmark", "metric", "a", "b", "value", "low", "high", "p_value", "n", "main"]
        kinds = dict.fromkeys(columns[2:-2], "float") | {"n": "Int64"}
        return pd.DataFrame(rows, columns=columns).astype(kinds).rename(columns={"value": "difference"})

    def _repr_html_(self) -> str:
        from reports import notebook

        return notebook.pairing(self)


def evaluate(
    checkpoints: str | Path | Iterable[str | Path],
    *,
    config: RunConfig | None = None,
    reporter: Reporter | None = None,
    **options: Unpack[Options],
) -> Evaluation:
    """Scores checkpoints, as ``srbench eval`` does, with the same numbers.

    Args:
        checkpoints: one or several: directories in Hugging Face layout, ``RUN:MODEL``, hub ids, ``openai:NAME@URL`` or
            finished files.
        config: how models answer and judge; None takes the run's, where all are of one, else that of their world.
        reporter: told the course of the work, such as `RichReporter`.
        options: see ``leaderboards.session.Options``.

    Returns:
        The results; what failed is in ``errors``.

    Raises:
        SrbenchError: it cannot be done as asked; of a name that is not known the message tells the closest.
        TypeError: there is no such option.
    """
    from leaderboards import session

    found = session.evaluate(checkpoints, config=config, reporter=reporter, **options)
    return Evaluation(found.root, found.results, found.errors, found.tournament)


def load_results(path: str | Path) -> Evaluation:
    """The results that earlier evaluations stored.

    Args:
        path: a run, a directory of evaluations (``runs/eval``), one model's directory in it, or ``RUN:MODEL``.

    Raises:
        DataError: there are no results, or one cannot be read.
    """
    run, colon, model = str(path).rpartition(":")
    named = colon and not Path(path).exists() and Path(model).name == model
    return Evaluation.load(Path(run, model) if named else Path(path))


def compare(a: str | Path, b: str | Path, *, benchmarks: Names = (), compare_unlike: bool = False) -> Pairing:
    """The stored results of ``b`` against those of ``a``, sample by sample, as ``srbench compare``.

    Args:
        a, b: ``RUN:MODEL``, or a directory that an evaluation made (``runs/eval/NAME``).
        benchmarks: one or several, such as ``nlp``; empty takes all that both have.
        compare_unlike: compares also what was made under unlike conditions.

    Raises:
        UnknownNameError: neither has a result of such a benchmark.
        ConfigError, DataError: there are no results to compare, or they cannot be read.
    """
    from leaderboards.comparing.pairing import locate, pair

    found = pair(locate(str(a)), locate(str(b)), benchmarks=listed(benchmarks), compare_unlike=compare_unlike)
    return Pairing(**dict(found))
