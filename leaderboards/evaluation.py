"""What came of an evaluation, as records and as pandas tables."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from leaderboards import standings
from leaderboards.descriptions import described
from leaderboards.standings import Tournament
from selfreward_bench.storage import jsonl
from selfreward_bench.types import EvalResult, SampleScore

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["Evaluation"]


@dataclass(frozen=True)
class Evaluation:
    """What came of an evaluation.

    Attributes:
        results: one per model and benchmark that went well, in the order asked for.
        errors: what went wrong, in words; the other results are there all the same.
        tournament: all pairs of the models that answered, where head-to-head was asked for and there were two.
    """

    root: Path
    results: tuple[EvalResult, ...]
    errors: tuple[str, ...] = ()
    tournament: Tournament | None = None

    @property
    def is_scored(self) -> bool:
        """Whether anything got a score: a sample of any benchmark, or a comparison of two models."""
        pairs = self.tournament.pairs if self.tournament else ()
        return any(p.n_scored for p in pairs) or any(map(_is_scored, self.results))

    def metrics(self) -> pd.DataFrame:
        """One row per model, benchmark and metric: value, interval, how many samples it rests on, and the judge."""
        import pandas as pd

        rows = [
            {"checkpoint": r.checkpoint, "benchmark": r.benchmark, "metric": name, **m.model_dump(), "judge": r.judge}
            for r in self.results
            for name, m in r.metrics.items()
        ]
        columns = ["checkpoint", "benchmark", "metric", "value", "low", "high", "n_scored", "n_total", "judge"]
        return pd.DataFrame(rows, columns=columns)

    def samples(self, benchmark: str) -> pd.DataFrame:
        """One row per model and sample of a benchmark (``NAME@VERSION``), its measures as columns.

        Raises:
            DataError: the scores of a model cannot be read.
        """
        import pandas as pd

        rows: list[dict[str, Any]] = []
        for r in self.results:
            if r.benchmark == benchmark:
                folder = self.root / r.checkpoint / "eval" / benchmark
                for s in jsonl.read(folder / standings.SCORES, SampleScore, allow_empty=True):
                    measured = s.detail.get("measures", {})
                    row = {"checkpoint": r.checkpoint, "sample_id": s.sample_id, "cluster": s.cluster}
                    rows.append({**row, "value": s.value, "reason": s.reason, **measured})
        return pd.DataFrame(rows)


def _is_scored(result: EvalResult) -> bool:
    """By what is meant to be high; lengths and counts are there for samples without a score too."""
    known = described(result.benchmark).metrics
    told = ((m, known.get(name)) for name, m in result.metrics.items())
    return any(m.n_scored and (info is None or (info.better == 1 and info.unit != "count")) for m, info in told)
