"""The harness: what every checkpoint is scored on, and how checkpoints compare. It trains nothing and draws nothing.

``leaderboards.evaluate("runs/first:M2")`` is what ``srbench eval`` does, with pandas tables as the result.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from leaderboards.session import Evaluation, evaluate

__all__ = ["Evaluation", "evaluate"]


def __getattr__(name: str) -> object:
    """Imports on first use: reports read this package's records without loading the harness."""
    if name in __all__:
        from leaderboards import session

        return getattr(session, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
