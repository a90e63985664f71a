"""What the garbage collector looks through where the libraries of models are loaded: a million lasting objects."""

from __future__ import annotations

import gc

_set_aside = False


def collect_rarely() -> None:
    """At the start of a process of our own: by Python's thresholds, a fifth of the time of imports is collecting."""
    gc.set_threshold(50_000, 20, 20)


def set_aside() -> None:
    """Before a model is read: until ``take_back`` the garbage collector does not look through what is there now.

    That is half a million objects of the libraries, for a third of a second at each of a loop's many collections. A
    process that has set its heap aside itself is left as it is.
    """
    global _set_aside
    if not gc.get_freeze_count():
        _set_aside = True
        gc.freeze()


def take_back() -> None:
    """Collects what a dropped model leaves, and undoes ``set_aside``."""
    global _set_aside
    gc.collect()
    if _set_aside:
        _set_aside = False
        gc.unfreeze()
