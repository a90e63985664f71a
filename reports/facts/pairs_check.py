"""What an independent judge said of a sample of the pairs a model was trained on, in a sentence."""

from __future__ import annotations

from pathlib import Path

from leaderboards import standings
from leaderboards.standings import CHOSEN, MATCHES, PAIRS, TOURNAMENT
from reports import wording
from selfreward_bench.errors import SrbenchError
from selfreward_bench.storage.rundir import hash_file

__all__ = ["judged"]


def judged(root: Path, model: str, gaps: list[str]) -> str:
    """The sentence; empty where nobody was asked.

    Args:
        root: of the run.
        gaps: told what could not be used, and why.
    """
    folder, pairs = root / MATCHES / PAIRS / model, root / model / "pairs.jsonl"
    if not (folder / TOURNAMENT).is_file():
        return ""
    try:
        found = standings.read_tournament(folder)
    except SrbenchError as error:
        gaps.append(f"{model}, judged pairs: {error}")
        return ""
    if len(found.pairs) != 1 or found.checkpoints.get(CHOSEN) != f"{CHOSEN} of {hash_file(pairs)}":
        gaps.append(f"{model}: other pairs were judged than it was trained on (`srbench eval --benchmarks pairs`).")
        return ""
    (pair,) = found.pairs
    how = "in both orders" if pair.positions else "which sees no order"
    lacking = pair.n_total - pair.n_scored
    unscored = f" No verdict on {lacking:,}." if lacking else ""
    share = wording.number(pair.win_rate, "share")
    interval = wording.interval(pair.low, pair.high, "share")
    return (
        f"Were they right? Of {pair.n_scored:,} drawn at random, {wording.visible(found.judge)} ({how}) finds the "
        f"chosen answer better in {pair.wins:,}, the rejected one in {pair.losses:,} and neither in {pair.ties:,}: "
        f"{share} {interval}, a tie counting half.{unscored}"
    )
