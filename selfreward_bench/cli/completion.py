"""What a shell offers for the values of options: suites, benchmarks, recipes, ``RUN:MODEL``. Nothing heavy is loaded.

``srbench --install-completion`` sets a shell up. Bash breaks words at colons, so that ``runs/first:M2`` comes in three
pieces and only the last is replaced: ``joined`` puts them together, and what is printed is cut accordingly.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, MutableMapping
from pathlib import Path
from typing import Final

__all__ = ["BENCHMARKS", "SUITES", "benchmarks", "joined", "models", "recipes", "suites", "worlds"]

SUITES: Final = ("micro", "paper", "quick")
#: of both worlds, as ``leaderboards.suites.NAMES`` has them
BENCHMARKS: Final = (
    *("quality", "judge-accuracy", "alpaca-eval", "mt-bench", "nlp", "head-to-head", "ifeval"),
    *("judge-accuracy-oasst", "judge-accuracy-llmbar", "judge-accuracy-llmbar-processed", "judge-accuracy-pandalm"),
    *("judge-accuracy-pairs", "judge-accuracy-jsonl", "pairs"),
)
_MOST: Final = 500  # offers


def suites(incomplete: str) -> list[str]:
    """Names of suites."""
    return _beginning(incomplete, SUITES)


def worlds(incomplete: str) -> list[str]:
    """The two worlds."""
    return _beginning(incomplete, ("micro", "real"))


def benchmarks(incomplete: str) -> list[str]:
    """Lists of benchmarks, the last of which is not complete.

    >>> benchmarks("nlp,alp")
    ['nlp,alpaca-eval']
    """
    before, comma, last = incomplete.rpartition(",")
    there = before.split(",")
    return [f"{before}{comma}{name}" for name in _beginning(last, BENCHMARKS) if name not in there]


def recipes(incomplete: str) -> list[str]:
    """Names of built-in recipes."""
    from selfreward_bench.recipes import names

    return _beginning(incomplete, names())


def models(incomplete: str) -> list[str]:
    """``RUN:MODEL`` of runs whose path begins so, and directories on the way to them.

    >>> models("no/such")
    []
    """
    path, colon, _ = incomplete.partition(":")
    found = list(_models(Path(path), path)) if colon else [o for run in _directories(path) for o in _offers(run)]
    return _beginning(incomplete, found)[:_MOST]


def _beginning(incomplete: str, names: Iterable[str]) -> list[str]:
    return [name for name in names if name.startswith(incomplete)]


def _directories(start: str) -> Iterator[str]:
    """Directories whose path begins so, as the user writes it."""
    folder, slash, name = start.rpartition("/")
    base = Path(folder or ("/" if slash else "."))
    try:
        there = sorted(p.name for p in base.iterdir() if p.is_dir() and not p.name.startswith("."))
    except OSError:
        return
    yield from (f"{folder}{slash}{found}" for found in there if found.startswith(name))


def _offers(directory: str) -> list[str]:
    return list(_models(Path(directory), directory)) or [f"{directory}/"]


def _models(run: Path, shown: str) -> Iterator[str]:
    """The models of a run, or of evaluations in its layout; nothing of another directory."""
    is_run = (run / "srbench.yaml").is_file()
    try:
        there = sorted(p.name for p in run.iterdir() if (p / "checkpoint").is_dir() or (p / "eval").is_dir())
    except OSError:
        return
    names = ["M0", *there] if is_run else there
    yield from (f"{shown}:{name}" for name in dict.fromkeys(names))


def joined(environment: MutableMapping[str, str]) -> str:
    """Puts the pieces of bash's current word together.

    Args:
        environment: ``COMP_WORDS`` and ``COMP_CWORD``, which are changed.

    Returns:
        What stands before the piece that bash replaces; empty where the word has no colon.

    >>> there = {"COMP_WORDS": "srbench eval --checkpoint runs/a : M", "COMP_CWORD": "5"}
    >>> joined(there), there["COMP_WORDS"], there["COMP_CWORD"]
    ('runs/a:', 'srbench\\neval\\n--checkpoint\\nruns/a:M', '3')
    """
    text = environment.get("COMP_WORDS", "")
    pieces = text.split("\n" if "\n" in text else " ")
    place = environment.get("COMP_CWORD", "")
    if not place.isdecimal() or int(place) >= len(pieces):
        return ""
    words: list[str] = []
    current = before = 0
    for i, piece in enumerate(pieces[: int(place) + 1]):
        goes_on = bool(words) and i > 1 and (piece == ":" or (piece and pieces[i - 1] == ":"))
        before = len(words[-1]) if goes_on else 0
        if goes_on:
            words[-1] += piece
        else:
            words.append(piece)
        current = len(words) - 1
    environment["COMP_WORDS"], environment["COMP_CWORD"] = "\n".join(words), str(current)
    return words[current] if pieces[int(place)] == ":" else words[current][:before]
