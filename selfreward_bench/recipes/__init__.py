"""Recipes: YAML on top of the defaults of ``selfreward_bench.config``, with every problem reported at once.

A recipe is a built-in name or a YAML file. It may say ``extends: NAME`` (or a path) and is then laid over that one;
``--set dpo.beta=0.2`` is laid over both. No YAML tag can construct an object; anchors and repeated keys are refused.
A path in a recipe is relative to the recipe's file, one in ``--set`` to the current directory; both become absolute.
"""

from selfreward_bench.recipes.layers import Layer
from selfreward_bench.recipes.loading import (
    anchored,
    change,
    current,
    describe,
    dump,
    load,
    names,
    read_text,
    resolve,
    source,
)
from selfreward_bench.recipes.strict import dump_values, parse

__all__ = [
    "Layer",
    "anchored",
    "change",
    "current",
    "describe",
    "dump",
    "dump_values",
    "load",
    "names",
    "parse",
    "read_text",
    "resolve",
    "source",
]
