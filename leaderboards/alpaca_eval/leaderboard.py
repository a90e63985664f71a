"""AlpacaEval 2's leaderboard as it is installed, as published rows to set beside one's own."""

from __future__ import annotations

import csv
import io
import math
from pathlib import Path
from typing import Final

from leaderboards.alpaca_eval.package import package_directory, package_version
from leaderboards.published import PublishedRow
from selfreward_bench.errors import DataError
from selfreward_bench.storage.files import os_errors

__all__ = ["alpaca_leaderboard"]

_LEADERBOARD_COLUMNS: Final = (
    *("win_rate", "standard_error", "n_wins", "n_wins_base", "n_draws", "n_total", "discrete_win_rate", "avg_length"),
    *("length_controlled_winrate", "lc_standard_error"),
)


def alpaca_leaderboard(
    annotator: str = "weighted_alpaca_eval_gpt4_turbo", file: Path | None = None
) -> list[PublishedRow]:
    """AlpacaEval 2's leaderboard, in the file's order (the best length-controlled win rate first).

    Args:
        annotator: whose leaderboard; the package has one file for each.
        file: a leaderboard CSV; None takes the installed package's.

    Returns:
        No rows where the package has no leaderboard of that annotator. Cells that are empty are left out.

    Raises:
        DataError: the file cannot be used.
        MissingDependencyError: alpaca_eval is not installed.
    """
    source = f"leaderboard {file}"
    if file is None:
        file = package_directory() / "leaderboards" / "data_AlpacaEval_2" / f"{Path(annotator).name}_leaderboard.csv"
        source = f"AlpacaEval 2 leaderboard as of alpaca_eval {package_version()}"
        if not file.is_file():
            return []
    with os_errors(file, "read"):
        content = file.read_text(encoding="utf-8", errors="strict")
    conditions = f"805 instructions against gpt4_1106_preview, annotator {annotator}"
    return [
        PublishedRow(
            benchmark="alpaca-eval",
            model=row.get("") or "unknown",
            metrics=_numbers(file, number, row),
            source=source,
            conditions=conditions,
        )
        for number, row in enumerate(csv.DictReader(io.StringIO(content)), 2)
    ]


def _numbers(file: Path, number: int, row: dict[str, str]) -> dict[str, float]:
    try:
        found = {name: float(row[name]) for name in _LEADERBOARD_COLUMNS if row.get(name)}
    except ValueError as error:
        raise DataError(f"{file}:{number}: {error}. It must be a leaderboard of AlpacaEval.") from error
    if not found or not all(map(math.isfinite, found.values())):
        raise DataError(f"{file}:{number}: no finite numbers. It must be a leaderboard of AlpacaEval.")
    return found
