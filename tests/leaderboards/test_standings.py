"""The files evaluation leaves behind: order of models, damaged files, text that cannot be written."""

from __future__ import annotations

from pathlib import Path

import pytest

from leaderboards.standings import (
    Failure,
    HeadToHead,
    MetricDifference,
    Standings,
    read_failure,
    read_standings,
    write_record,
)
from selfreward_bench.errors import DataError


def difference(low: float | None, high: float | None) -> MetricDifference:
    return MetricDifference(
        benchmark="b@1", metric="m", a="M2", b="M1", value=0.1, low=low, high=high, p_value=0.5, n=9, n_total=9
    )


@pytest.mark.parametrize(
    ("low", "high", "direction"), [(0.1, 0.2, 1), (-0.2, -0.1, -1), (-0.1, 0.2, 0), (0.0, 0.2, 0), (None, None, 0)]
)
def test_a_direction_only_where_the_interval_excludes_zero(
    low: float | None, high: float | None, direction: int
) -> None:
    assert difference(low, high).direction == direction


def test_standings_survive_the_file(tmp_path: Path) -> None:
    record = Standings(fingerprints={"M1": {"b@1": "ff"}}, differences=(difference(0.0, 1.0),), notes=("ünlike",))
    write_record(tmp_path / "standings.json", record)
    assert read_standings(tmp_path) == record
    assert record.difference("b@1", "m", "M2", "M1") == difference(0.0, 1.0)
    assert record.difference("b@1", "m", "M1", "M2") is None


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b'{"format": 2, "fingerprints": {}}', b"\xff\xfe", b"null"])
def test_damaged_files_are_named(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "standings.json").write_bytes(content)
    with pytest.raises(DataError, match=r"standings\.json is damaged or from another version"):
        read_standings(tmp_path)


def test_half_characters_are_refused_and_nothing_is_written(tmp_path: Path) -> None:
    record = Failure(checkpoint="M1", fingerprint="f", benchmark="b", error="E", message="\ud800")
    with pytest.raises(DataError, match=r"failure\.json"):
        write_record(tmp_path / "failure.json", record)
    with pytest.raises(DataError, match="no such file"):
        read_failure(tmp_path / "failure.json")


@pytest.mark.parametrize(
    ("wins", "losses", "p", "low", "high", "direction"),
    [
        (1, 0, 1.0, 0.5 + 4.6e-10, 0.59, 0),  # one of 32 decided: rounding alone keeps the end from one half
        (4, 0, 0.125, 0.52, 0.61, 0),  # all four one way happen by chance in one of eight
        (8, 0, 0.0078, 0.56, 0.71, 1),
        (0, 8, 0.0078, 0.29, 0.44, -1),
        (60, 30, 0.002, 0.54, 0.69, 1),
        (60, 30, 0.002, 0.5, 0.69, 0),
    ],
)
def test_a_win_rate_is_told_from_one_half_only_where_it_is(
    wins: int, losses: int, p: float, low: float, high: float, direction: int
) -> None:
    names = {"benchmark": "head-to-head@1", "judge": "j", "a": "M2", "b": "M1"}
    shares = {"win_rate": 0.5, "low": low, "high": high, "win": 0.0, "tie": 1.0, "loss": 0.0}
    counts = {"wins": wins, "losses": losses, "n_scored": 99, "n_total": 99, "n_prompts": 99}
    found = HeadToHead.model_validate(names | shares | counts | {"p_value": p, "sign_p_value": p})
    assert found.direction == direction
