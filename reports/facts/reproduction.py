"""How a run could be made again: the recipe it is nearest to, what it changes, and the commands, quoted for a shell."""

from __future__ import annotations

import json
import re
import shlex
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Final

from leaderboards.chain import model_order
from reports.facts import tables
from reports.facts.run import RunFacts
from selfreward_bench import recipes
from selfreward_bench.errors import SrbenchError

__all__ = ["Command", "Difference", "Origin", "commands", "origin", "scalar"]

_MAX_COMMAND: Final = 6_000  # characters; a longer one helps nobody
_LINE: Final = 100  # characters, about
_SAFE_NAME: Final = re.compile(r"[\w.-]{1,80}", re.ASCII)
_MAX_DIFFERENCES: Final = 400
_FALLBACK: Final = "micro"


@dataclass(frozen=True, slots=True)
class Difference:
    """A setting that is not the recipe's. ``default`` is None where the recipe has no such setting."""

    key: str
    value: object
    default: object
    known: bool = True


@dataclass(frozen=True, slots=True)
class Origin:
    """The built-in recipe a configuration is nearest to.

    Attributes:
        exact: whether recipe and changes, given on a command line, come to exactly this configuration.
    """

    recipe: str
    differences: tuple[Difference, ...]
    exact: bool


@dataclass(frozen=True, slots=True)
class Command:
    """One command, and what it does; a long one is broken between options, as a shell takes it."""

    what: str
    text: str


def origin(config: Mapping[str, Any]) -> Origin | None:
    """The recipe of the configuration's name, or else the one with the fewest differences; None of nothing."""
    if not config:
        return None
    present = dict(_leaves(config))
    known = {name: dict(leaves) for name, leaves in _built_in().items()}
    name = config.get("name")
    if not isinstance(name, str) or name not in known:
        name = min(known, key=lambda n: (len(_differences(present, known[n])), n != _FALLBACK, n))
    found = _differences(present, known[name])
    return Origin(name, tuple(found[:_MAX_DIFFERENCES]), _comes_to(name, found, present))


def commands(facts: RunFacts, made: Origin | None) -> list[Command]:
    """What makes the run again, step by step; the run gets a new name, so that nothing is overwritten."""
    if made is None:
        return []
    name = facts.name if _SAFE_NAME.fullmatch(facts.name) else "run"
    run = f"runs/{name}-again"
    found = [Command("Make the run's directory", _init(run, made))] if made.exact else []
    finished = list(tables.iterations(m.name for m in facts.models if m.iteration))
    if finished:
        found.append(
            Command("Train", shlex.join(["srbench", "run-iteration", run, "--until", model_order(finished)[-1]]))
        )
    for what, options in _evaluations(facts):
        found.append(Command(what, _command(["srbench", "eval", "--run", run], *options)))
    found.append(Command("Build the report", shlex.join(["srbench", "report", run])))
    return found


def scalar(value: object) -> str:
    """A setting's value as ``--set`` takes it: YAML in ASCII, whatever the text holds.

    >>> scalar(1e-05), scalar(None), scalar("a: b"), scalar("zero\\u200bwidth")
    ('1e-05', 'null', '"a: b"', '"zero\\\\u200Bwidth"')
    """
    if isinstance(value, str):
        plain = re.fullmatch(r"[A-Za-z][\w./-]*", value, re.ASCII) and value.lower() not in _NOT_TEXT
        return value if plain else f'"{"".join(map(_escaped, value))}"'
    if isinstance(value, list | tuple):
        return f"[{', '.join(map(scalar, value))}]"
    return json.dumps(value, ensure_ascii=True, allow_nan=False)


# --- the recipe


@lru_cache(maxsize=1)
def _built_in() -> dict[str, tuple[tuple[str, Any], ...]]:
    return {name: tuple(_leaves(recipes.load(name).model_dump(mode="json"))) for name in recipes.names()}


def _leaves(values: Mapping[str, Any], prefix: str = "") -> Iterable[tuple[str, Any]]:
    for key, value in values.items():
        if isinstance(value, dict):
            yield from _leaves(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", value


def _differences(present: Mapping[str, Any], known: Mapping[str, Any]) -> list[Difference]:
    """Settings of the run that are not the recipe's; those that only newer versions know are the recipe's."""
    return [
        Difference(key, value, known.get(key), key in known)
        for key, value in present.items()
        if key not in known or value != known[key] or isinstance(value, bool) != isinstance(known[key], bool)
    ]


def _comes_to(name: str, found: Sequence[Difference], present: Mapping[str, Any]) -> bool:
    try:
        options = [f"{d.key}={scalar(d.value)}" for d in found]
        if sum(map(len, options)) > _MAX_COMMAND or len(found) > _MAX_DIFFERENCES:
            return False
        made = dict(_leaves(recipes.load(name, options).model_dump(mode="json")))
    except (SrbenchError, ValueError, TypeError):
        return False
    return all(key in made and made[key] == value for key, value in present.items())


_NOT_TEXT: Final = {"true", "false", "null", "yes", "no", "on", "off", "y", "n", "inf", "nan"}
_ESCAPES: Final = {'"': '\\"', "\\": "\\\\", "\n": "\\n", "\t": "\\t"}


def _escaped(character: str) -> str:
    """As YAML's double quotes have it; unlike JSON's, one escape per character."""
    if character in _ESCAPES:
        return _ESCAPES[character]
    code = ord(character)
    if 0x20 <= code < 0x7F:
        return character
    return f"\\x{code:02X}" if code < 0x100 else f"\\u{code:04X}" if code < 0x10000 else f"\\U{code:08X}"


# --- commands


def _init(run: str, made: Origin) -> str:
    options = [
        ["--seed", str(d.value)] if d.key == "seed" else ["--set", f"{d.key}={scalar(d.value)}"]
        for d in made.differences
    ]
    return _command(["srbench", "init", run, "--recipe", made.recipe], *options)


def _command(*parts: Sequence[str]) -> str:
    joined = [shlex.join(part) for part in parts]
    line = " ".join(joined)
    return line if len(line) <= _LINE else " \\\n  ".join(joined)


def _evaluations(facts: RunFacts) -> Iterable[tuple[str, list[list[str]]]]:
    """One call per judge: what it is called, and its options."""
    by_judge: dict[str, list[str]] = {}
    for m in facts.models:
        for key, result in m.results.items():
            judged_by_itself = key.startswith("micro-") or "judge-accuracy" in key
            judge = "" if judged_by_itself else result.comparability.get("judge", "")
            by_judge.setdefault("" if judge == "oracle" else judge, []).append(key)
    if facts.tournament is not None:
        judge = facts.tournament.comparability.get("judge", "")
        by_judge.setdefault("" if judge == "oracle" else judge, []).append("head-to-head")
    for judge, keys in by_judge.items():
        if not judge.isprintable() or not judge.isascii():
            continue
        names = [name for key in dict.fromkeys(keys) if _SAFE_NAME.fullmatch(name := key.partition("@")[0])]
        if names:
            options = [["--benchmarks", ",".join(names)], *([["--judge", judge]] if judge else [])]
            yield (f"Evaluate, judged by {judge}" if judge else "Evaluate"), options
