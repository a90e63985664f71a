"""A run as it stands: curves, the last texts, files that are torn, hostile or growing."""

from __future__ import annotations

import json
import os
from pathlib import Path

from reports.live.watching import Course, Stage, watch

from ..conftest import RunBuilder


def course(path: Path) -> Course:
    return Course((Stage("M2/train", "partial", "steps", 3, 9, 1.5),), True, 1.5)


def lines(path: Path, rows: list[dict[str, object]], torn: str = "") -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(json.dumps(r) + "\n" for r in rows) + torn)


def test_curves_and_the_last_texts_of_the_model_that_is_worked_on(builder: RunBuilder) -> None:
    run = builder.path
    lines(run / "M1" / "log.jsonl", [{"step": i, "loss": 1 / (i + 1)} for i in range(9)], '{"step": 9, "lo')
    lines(
        run / "M2" / "completions.jsonl",
        [{"prompt_id": f"p{i}", "text": f"answer {i}"} for i in range(99)],
        '{"prompt_id": "torn", "te',
    )
    raw = json.dumps({"justification": "Good.", "probs": {"5": 1.0}, "mass": 1.0})
    lines(run / "M2" / "judgments.jsonl", [{"prompt_id": "p1", "score": 4.5, "raw": raw}])
    lines(run / "M2" / "prompts.jsonl", [{"id": "p1", "messages": [{"role": "user", "content": "Cats?"}]}])
    found = watch(run, course)
    assert [title for title, _ in found.curves] == ["M1: loss"]
    assert [r["y"] for r in found.curves[0][1].rows][:2] == [1.0, 0.5]
    texts = dict(found.texts)
    assert [t.text for t in texts["M2: answers"]] == [f"answer {i}" for i in range(98, 92, -1)]
    (judged,) = texts["M2: judgments"]
    assert judged.label == "p1 \u00b7 score 4.50"
    assert judged.text == "Good.\nWeighed grades 5: 100.0 %"
    assert [t.text for t in texts["M2: prompts"]] == ["Cats?"]
    assert found.course.running


def test_the_end_of_a_huge_file_is_read_and_long_texts_are_cut(builder: RunBuilder) -> None:
    rows: list[dict[str, object]] = [{"prompt_id": f"p{i}", "text": f"{i} " + "x" * 5_000} for i in range(300)]
    lines(builder.path / "M2" / "completions.jsonl", rows)
    ((_, texts),) = watch(builder.path, course).texts
    assert texts[0].text.startswith("299 xxx")
    assert all(len(t.text) < 700 for t in texts)


def test_what_is_no_text_is_passed_over(builder: RunBuilder, tmp_path: Path) -> None:
    folder = builder.path / "M2"
    folder.mkdir()
    (folder / "completions.jsonl").write_bytes(
        b'\xff\xfe\n[1]\n{"text": 3}\nnull\n' + b"[" * 9_000 + b'\n{"text": "ok"}\n'
    )
    os.mkfifo(folder / "judgments.jsonl")  # reading it would never end
    os.mkfifo(folder / "log.jsonl")
    ((_, texts),) = watch(builder.path, course).texts
    assert [t.text for t in texts] == ["ok"]
    assert watch(tmp_path / "nothing", course).texts == ()


def test_evaluations_say_whether_their_result_is_there(builder: RunBuilder) -> None:
    builder.result("M1", quality_sampled=3.0)
    (builder.path / "M1" / "eval" / "nlp@1").mkdir()
    assert watch(builder.path, course).evaluations == (("M1", "micro-quality@1", True), ("M1", "nlp@1", False))
