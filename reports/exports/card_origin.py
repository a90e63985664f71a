"""What a model card says of where a model comes from: its base, the licence and the languages it inherits from it.

Read from the run's settings and from the base's own card where that is on this machine; nothing is guessed, and no
network is asked.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from leaderboards import chain
from reports.facts.run import RunFacts
from selfreward_bench.bases.card import front_matter
from selfreward_bench.errors import EngineError
from selfreward_bench.sources.hub import hub_name, is_hub_name
from selfreward_bench.storage.adapters import base_named, is_adapter

__all__ = ["Origin", "origin"]

_ASKED: Final = ("base_model", "license", "language")  # by the hub
_INHERITED: Final = ("license", "license_name", "license_link", "language")
_MICRO: Final = "micro"
_OF_MICRO: Final = {"license": "apache-2.0", "language": "en"}  # the embedded base is a part of srbench
_MAX_TEXT: Final = 300


@dataclass(frozen=True, slots=True)
class Origin:
    """Where a model comes from.

    Attributes:
        known: metadata of its card.
        unknown: what the hub asks for besides, and nothing here says.
    """

    known: Mapping[str, Any]
    unknown: tuple[str, ...]


def origin(having: Sequence[tuple[RunFacts, str]], checkpoint: Path) -> Origin:
    """Base model, licence and language of a model, as far as they are known here.

    Args:
        having: runs that evaluated the model, and what each calls it.
        checkpoint: its directory.
    """
    base = _base(having, checkpoint)
    if base == _MICRO:
        return Origin(_OF_MICRO, ())
    is_base = any(model == chain.BASE for _, model in having)
    known = _inherited(base) if base else {}
    if (name := _hub_name(base)) and not is_base:
        known |= {"base_model": name, "base_model_relation": "adapter" if is_adapter(checkpoint) else "finetune"}
    asked = [key for key in _ASKED if key != "base_model" or not is_base]
    return Origin(known, tuple(key for key in asked if key not in known))


def _base(having: Sequence[tuple[RunFacts, str]], checkpoint: Path) -> str:
    """What the model was made from, as the run's settings or the adapter say it; empty where nobody does."""
    named = next((facts.settings["base"] for facts, _ in having if facts.is_run and "base" in facts.settings), "")
    if not named and is_adapter(checkpoint):
        try:
            name, revision = base_named(checkpoint)
        except EngineError:
            return ""
        return f"{name}@{revision}" if revision and is_hub_name(name) else name
    return named


def _hub_name(base: str) -> str:
    """What the hub calls the base; empty of another directory."""
    found = base if is_hub_name(base) and not Path(base).exists() else hub_name(Path(base or ".")) or ""
    return found.partition("@")[0]


def _inherited(base: str) -> dict[str, Any]:
    """Licence and language, from the base's own card."""
    path = _card(base)
    if path is None:
        return {}
    front = front_matter(path)
    return {key: front[key] for key in _INHERITED if _is_plain(front.get(key))}


def _card(base: str) -> Path | None:
    """The base's card, where it is on this machine."""
    path = Path(base) / "README.md"
    if path.is_file():
        return path
    if not is_hub_name(base):
        return None
    from huggingface_hub import try_to_load_from_cache

    name, _, revision = base.partition("@")
    found = try_to_load_from_cache(name, "README.md", revision=revision or None)
    return Path(found) if isinstance(found, str) else None


def _is_plain(value: object) -> bool:
    """A short text, or a list of such."""
    texts = value if isinstance(value, list) else [value]
    return bool(texts) and all(isinstance(t, str) and 0 < len(t) <= _MAX_TEXT and t.isprintable() for t in texts[:50])
