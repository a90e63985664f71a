"""``generation_config.json``: whether the library that wrote it would write it again."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import transformers

from selfreward_bench.bases.findings import Finding, refusal, warning
from selfreward_bench.engines.loading import cause, quiet
from selfreward_bench.errors import first_line

__all__ = ["generation_findings"]

_FILE: Final = "generation_config.json"


def generation_findings(directory: Path) -> Iterator[Finding]:
    """Of a file that is there; srbench takes the end tokens from it and nothing else."""
    if not (directory / _FILE).is_file():
        return
    try:
        with quiet():
            config = transformers.GenerationConfig.from_pretrained(str(directory))
    except Exception as error:  # whatever a damaged file causes
        yield refusal("generation", f"{_FILE} cannot be read: {cause(error)} Mend it, or delete it.")
        return
    try:
        with quiet():
            config.validate(strict=True)
    except ValueError as error:
        faults = ", ".join(re.findall(r"^- `(\w+)`", str(error), re.MULTILINE)) or first_line(error)
        yield warning(
            "generation",
            f"{_FILE} contradicts itself ({faults}). What is trained from the model gets one that does not.",
        )
