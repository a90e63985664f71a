"""What ``--json`` prints: one JSON object a command, and nothing else on stdout (docs/formats.md).

Pure ASCII: whatever a file or a server put into a name can steer no terminal. What is no number is null. Keys that this
process has read are taken out, as everywhere.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from typing import Annotated, Any, Final

import typer

from selfreward_bench import __version__

__all__ = ["FORMAT", "Json", "emit"]

FORMAT: Final = 1

Json = Annotated[bool, typer.Option("--json", help="Prints one JSON object instead (docs/formats.md).")]


def emit(command: str, /, **values: Any) -> None:
    """Prints the object of a command.

    Args:
        command: as the user called it: ``status``, ``eval --dry-run``.
        values: what ``json`` can write; numbers that are none become null.
    """
    from selfreward_bench.engines.served.secrets import redacted

    found = {"format": FORMAT, "srbench": __version__, "command": command, **values}
    text = json.dumps(_plain(found), indent=1, ensure_ascii=True, allow_nan=False)
    typer.echo(redacted(text).replace("\x7f", "\\u007f"))


def _plain(value: Any) -> Any:
    """The same with null for what is no number."""
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, Mapping):
        return {str(key): _plain(one) for key, one in value.items()}
    return [_plain(one) for one in value] if isinstance(value, list | tuple) else value
