"""Which samples the page holds: chosen by their values alone, and no text of the others is kept."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from reports.samples import choosing, rows
from reports.samples import collect as samples
from reports.samples.files import may_hold
from reports.samples.records import UNPARSED, Sample, Side

from ..sample_run import SampleRun, alpaca

ALPACA, MT, JUDGING = "alpaca-eval@1", "mt-bench@1", "judge-accuracy-oasst@1"


def sample(first: float | None, later: float | None, metric: str = "m", flags: int = 0) -> Sample:
    return Sample("id", metric, "", {0: Side(first), 1: Side(later, flags=flags)})


def test_a_change_is_weighed_by_the_largest_of_its_metric_and_a_lost_verdict_is_half_of_it() -> None:
    found = [sample(0, 4), sample(0, 1), sample(0, 0.5, "n"), sample(1, 1, flags=UNPARSED), sample(None, 1, "n")]
    assert choosing.weights(found) == [1.0, 0.25, 1.0, 0.5, 0.0]


def test_the_extremes_are_of_the_pair_that_is_looked_at_first() -> None:
    found = [sample(2, 1), sample(5, 1), sample(1, 4), sample(None, 9), sample(1, 2)]
    assert choosing.extremes(found, (0, 1)) == [1, 2]
    assert choosing.extremes(found, (1, 0)) == [2, 1]
    assert choosing.extremes(found[4:], (0, 1)) == [0]
    assert choosing.extremes(found, (0, 0)) == choosing.extremes([sample(1, 1)], (0, 1)) == []


def test_texts_are_read_of_those_alone_that_are_shown(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(choosing, "MAX_SAMPLES", 2)
    run = SampleRun(tmp_path / "run")
    for name, sign in (("M1", 0), ("M2", 1), ("M3", 0)):
        run.scores(name, ALPACA, [alpaca(f"s{k}", float(sign * k), f"Answer {k}.") for k in range(9)])
        run.answers(name, ALPACA, {f"s{k}": f"Whole answer {k} of {name}." for k in range(9)})
    asked: list[set[str]] = []
    sides = rows.RowReader.sides
    monkeypatch.setattr(rows.RowReader, "sides", lambda self, ids: (asked.append(set(ids)), sides(self, ids))[1])
    (found,), gaps = samples.collect([run.facts])
    assert asked == [{"s7", "s8"}] * 3
    assert [s.id for s in found.samples] == ["s7", "s8"]
    assert (found.total, found.metrics, found.extremes) == (9, ("win_rate",), ())  # M1 and M3 are alike
    assert found.samples[0].sides[1].answer == "Whole answer 7 of M2."
    assert gaps == []


def test_what_stands_in_other_rows_is_read_with_those_that_are_shown(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(choosing, "MAX_SAMPLES", 1)
    run = SampleRun(tmp_path / "run")
    for name, grade in (("M1", 3.0), ("M2", 9.0)):
        turns: list[dict[str, Any]] = [
            {
                "sample_id": f"{q}/{t}",
                "value": grade if (q, t) == ("b", 2) else 5.0,
                "cluster": q,
                "detail": {"measures": {"grade": 5.0}, "turn": t, "prompt": f"Turn {t} of {q}?", "answer": "x"},
            }
            for q in "abc"
            for t in (1, 2)
        ]
        run.scores(name, MT, turns)
        pairs = [
            {
                "sample_id": f"pair/{q}/0-1",
                "value": float(q == "b" and name == "M2"),
                "detail": {"measures": {"pairwise_accuracy": 1.0}},
            }
            for q in "abc"
        ]
        texts = [
            {"sample_id": f"response/{q}/{k}", "value": float(k), "detail": {"prompt": q, "response": f"{q} {k}"}}
            for q in "abc"
            for k in (0, 1)
        ]
        run.scores(name, JUDGING, [*pairs, *texts])
    conversations, judged = samples.collect([run.facts])[0]
    assert [s.id for s in conversations.samples] == ["b/2"]
    assert conversations.samples[0].sides[1].prompt == "[Turn 1]\nTurn 1 of b?\n\n[Turn 2]\nTurn 2 of b?"
    assert (conversations.total, judged.total) == (6, 3)
    assert [text for _, text in judged.samples[0].sides[0].beside] == ["b 0", "b 1"]


@pytest.mark.parametrize(
    ("line", "held"),
    [
        (b'{"id":"a","n":1}\n', True),
        (b'{"id":"b","n":1}\n', False),
        (b'{"id": "b","n":1}\n', True),  # of another form: it must be read
        (b'{"id":"b\\u0061"}\n', True),
        (b'{"id":"b', True),
        (b'{"n":1,"id":"b"}\n', True),
    ],
)
def test_a_line_is_passed_over_only_where_it_is_certain_to_be_of_another(line: bytes, held: bool) -> None:
    assert may_hold("id", ["a"])(1, line) is held
