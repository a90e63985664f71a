"""Preference pairs of the page: a bounded choice of them, with the judge's words."""

from __future__ import annotations

import json
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from reports.samples import files, preferences
from reports.sections.pairs import build

from ..sample_run import SampleRun


@pytest.fixture
def run(tmp_path: Path) -> SampleRun:
    return SampleRun(tmp_path / "demo")


def blob(run: SampleRun) -> dict[str, Any]:
    section = build([run.facts])
    assert section is not None
    found: dict[str, Any] = json.loads(section.blobs["pairs-0"])
    return found


def judgment(prompt_id: str, index: int, raw: str, score: float | None, reason: str | None = None) -> dict[str, Any]:
    return {"prompt_id": prompt_id, "index": index, "sample": 0, "score": score, "raw": raw, "reason": reason}


def test_the_judges_words_are_joined_by_prompt_and_answer(run: SampleRun) -> None:
    run.pairs("M2", [("Ask?", "Good.", "Bad.", 4.5, 1.25)])
    said = [
        judgment("p0", 0, "Poor work.", 1.25),
        judgment("p0", 1, "Of an answer nobody took.", 3.0),
        judgment("p1", 2, "Of another prompt.", 3.0),
        judgment("p0", 2, "Fine work.", 4.5),
        judgment("p0", 2, "Score: many", None, "no_verdict"),
    ]
    run.lines(run.path / "M2" / "judgments.jsonl", said)
    (found,), gaps = preferences.collect([run.facts])
    (pair,) = found.pairs
    assert gaps == []
    assert pair.words == (("[4.50] Fine work.", "[no score: no_verdict] Score: many"), ("[1.25] Poor work.",))
    assert (pair.texts, pair.scores, pair.chars) == (("Good.", "Bad."), (4.5, 1.25), (5, 4))


def test_judgments_are_found_behind_any_number_of_others(run: SampleRun, monkeypatch: pytest.MonkeyPatch) -> None:
    """What is of other prompts is passed over; how a line was written does not matter."""
    monkeypatch.setattr(files, "_MAX_LINES", 20)
    run.pairs("M2", [("Ask?", "Good.", "Bad.", 4.5, 1.25)])
    path = run.path / "M2" / "judgments.jsonl"
    others = [json.dumps(judgment(f"q{k}", 0, "Other.", 1.0), separators=(",", ":")) for k in range(50)]
    mine = [
        json.dumps(judgment("p0", 2, "Fine work.", 4.5), separators=(",", ":")),
        json.dumps({"index": 0, "score": 1.25, "raw": "Poor work.", "prompt_id": "p0"}),
        '{"prompt_id":"\\u00700","index":0,"score":1.25,"raw":"Poor again."}',
    ]
    path.write_text("\n".join([*others, '{"prompt_id":"q50","index":', *mine]) + "\n")
    (found,), gaps = preferences.collect([run.facts])
    assert found.pairs[0].words == (("[4.50] Fine work.",), ("[1.25] Poor work.", "[1.25] Poor again."))
    assert gaps == ["M2/judgments.jsonl: 1 line is damaged and left out (the first: line 51)."]
    path.write_text("\n".join(mine * 7) + "\n")
    _, gaps = preferences.collect([run.facts])
    assert gaps == ["M2/judgments.jsonl is longer than 20 lines; the rest is not shown."]


def test_of_many_pairs_the_extremes_are_kept_and_the_others_spread(run: SampleRun) -> None:
    pairs = [(f"Ask {k}?", "a" * 50, "b" * 50, 3 + k / 1_000, 1.0) for k in range(1_000)]
    pairs[333] = ("Long?", "a" * 5_000, "b", 3.5, 1.0)
    pairs[444] = ("Short?", "a", "b" * 5_000, 3.5, 1.0)
    run.pairs("M2", pairs)
    (found,), _ = preferences.collect([run.facts])
    numbers = [p.number for p in found.pairs]
    assert (found.total, len(numbers), numbers) == (1_000, preferences.MAX_PAIRS, sorted(numbers))
    assert {0, 999, 333, 444} <= set(numbers)
    assert max(b - a for a, b in pairwise(numbers)) < 20
    section = build([run.facts])
    assert section is not None
    assert "M2: 1,000 pairs, 200 of them here." in " ".join(section.body.split())


def test_the_longer_the_texts_the_shorter_what_is_kept(run: SampleRun) -> None:
    def longest(count: int) -> int:
        run.pairs("M2", [(f"Ask {k}?", f"{k}" + "x" * 9_000, f"{k}" + "y" * 9_000, 3.0, 1.0) for k in range(count)])
        return max(map(len, blob(run)["texts"]))

    assert 8_000 < longest(100) < 8_100
    assert 8_000 < longest(180) < 8_100
    run.pairs("M3", [("Ask?", "z" * 9_000, "w" * 9_000, 3.0, 1.0)] * 150)
    assert 3_000 < longest(180) < 3_100
    section = build([run.facts])
    assert section is not None
    assert "Texts are cut at 3,000 characters." in section.body


def test_damaged_pairs_are_gaps(run: SampleRun) -> None:
    run.pairs("M2", [("Ask?", "Good.", "Bad.", 4.5, 1.25)])
    path = run.path / "M2" / "pairs.jsonl"
    path.write_bytes(b'{"chosen": "\xff"}\n' + path.read_bytes() + b'{"prompt_id": "torn')
    (found,), gaps = preferences.collect([run.facts])
    assert [p.texts for p in found.pairs] == [("Good.", "Bad.")]
    assert gaps == ["M2/pairs.jsonl: 2 lines are damaged and left out (the first: line 1)."]


def test_hostile_texts_are_visible_and_escaped(run: SampleRun) -> None:
    run.pairs("M2", [("Ask\u202e?", "<script>alert(1)</script>", "\x00", 4.5, 1.25)])
    section = build([run.facts])
    assert section is not None
    assert "<script>" not in section.body
    assert "&lt;script&gt;alert(1)" in section.body
    assert {"Ask[U+202E]?", "<script>alert(1)</script>", "[U+0000]"} <= set(blob(run)["texts"])


def test_a_run_without_pairs_says_so(run: SampleRun) -> None:
    section = build([run.facts])
    assert section is not None
    assert "There are no preference pairs." in section.body
    assert section.blobs == {}


def test_the_html_itself_has_six_from_the_smallest_margin_to_the_largest(run: SampleRun) -> None:
    run.pairs("M2", [(f"Ask {k}?", "Good.", "Bad.", 3 + k, 1.0) for k in range(50)])
    section = build([run.facts])
    assert section is not None
    assert section.body.count('class="preference"') == 6
    assert section.body.index("Ask 0?") < section.body.index("Ask 49?")
