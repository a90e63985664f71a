"""What the garbage collector looks through, and when."""

from __future__ import annotations

import gc
import weakref
from collections.abc import Iterator

import pytest

from selfreward_bench import heap


class Ring:
    """Holds itself: nothing but the garbage collector takes it away."""

    def __init__(self) -> None:
        self.itself = self


@pytest.fixture
def in_view(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """The heap as it is outside of tests, which set it aside."""
    monkeypatch.setattr(heap, "_theirs", False)
    gc.unfreeze()
    yield
    gc.freeze()


@pytest.mark.usefixtures("in_view")
def test_what_was_there_before_a_model_is_not_looked_through_and_comes_back_into_view() -> None:
    before = Ring()
    old = weakref.ref(before)
    heap.set_aside()
    of_the_model = Ring()
    new = weakref.ref(of_the_model)
    del before, of_the_model
    assert gc.get_freeze_count() > 10_000
    heap.set_aside()  # a second model
    heap.take_back()
    assert new() is None
    assert old() is not None
    assert gc.get_freeze_count() == 0


@pytest.mark.usefixtures("in_view")
def test_a_process_that_has_set_its_heap_aside_keeps_it_so(monkeypatch: pytest.MonkeyPatch) -> None:
    gc.freeze()
    there = gc.get_freeze_count()
    asked: list[int] = []
    monkeypatch.setattr(gc, "get_freeze_count", lambda: asked.append(there) or there)
    for _ in range(3):
        heap.set_aside()
        heap.take_back()
    monkeypatch.undo()
    assert asked == [there]  # to count takes a tenth of a second
    assert gc.get_freeze_count() == pytest.approx(there, rel=0.01)


def test_a_process_of_ones_own_collects_rarely() -> None:
    before = gc.get_threshold()
    try:
        heap.collect_rarely()
        assert gc.get_threshold()[0] >= 10_000
    finally:
        gc.set_threshold(*before)
