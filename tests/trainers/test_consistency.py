"""How alike two judges rank a round's answers."""

from __future__ import annotations

import pytest

from selfreward_bench.types import Reward
from trainers.consistency import consistency


def rewards(*groups: tuple[float | None, ...]) -> list[Reward]:
    return [
        Reward(prompt_id=f"p{n}", index=i, score=score, n_parsed=int(score is not None), n_judgments=1)
        for n, group in enumerate(groups)
        for i, score in enumerate(group)
    ]


@pytest.mark.parametrize(
    ("now", "then", "agreed"),
    [
        ([(1, 2, 3)], [(2, 4, 5)], 1.0),
        ([(1, 2, 3)], [(3, 2, 1)], 0.0),
        ([(1, 2, 3)], [(1, 3, 2)], 2 / 3),  # two of three pairs: tau is 1/3
        ([(1, 2), (1, 2)], [(1, 2), (2, 1)], 0.5),
    ],
)
def test_it_is_the_mean_of_kendalls_tau_as_a_share(now: list, then: list, agreed: float) -> None:  # type: ignore[type-arg]
    found = consistency(rewards(*now), rewards(*then))
    assert found["consistency"] == pytest.approx(agreed)
    assert found["ranked"] == len(now)


def test_what_cannot_be_ranked_does_not_count() -> None:
    found = consistency(rewards((1, 2), (3, 3), (None, 1), (5,)), rewards((1, 2), (1, 2), (1, 2), (4,)))
    assert found == {"consistency": 1.0, "tau": 1.0, "ranked": 1}
    assert consistency(rewards((1, 1)), rewards((1, 2))) == {"consistency": 0.5, "tau": 0.0, "ranked": 0}
