"""What the garbage collector looks through where the libraries of models are loaded: a million lasting objects."""

from __future__ import annotations

import gc

_ours = False  # what is set aside was set aside here
_theirs = False  # by whoever runs this process, before


def collect_rarely() -> None:
    """At the start of a process of our own: by Python's thresholds, a fifth of the time of imports is collecting."""
    gc.set_threshold(50_000, 20, 20)


def set_aside() -> None:
    """Before a model is read: until ``take_back`` the garbage collector does not look through what is there now.

    That is half a million objects of the libraries, for a third of a second at each of a loop's many collections. A
    process that has set its heap aside itself is left as it is, and not asked again: to count takes as long.
    """
    global _ours, _theirs
    if not (_ours or _theirs):
        _theirs = gc.get_freeze_count() > 0
    if not (_ours or _theirs):
        _ours = True
        gc.freeze()


def take_back() -> None:
    """Collects what a dropped model leaves, and undoes ``set_aside``."""
    global _ours
    gc.collect()
    if _ours:
        _ours = False
        gc.unfreeze()
