"""The section on training: every step, every loss on the way, and a chain of weights that is whole or is not."""

from __future__ import annotations

import json
import re
from html.parser import HTMLParser
from typing import Any

import pytest

from leaderboards.health.records import HEALTH, Health, IterationHealth, Quantiles
from leaderboards.standings import write_record
from reports.facts import collect
from reports.facts import training as training_facts
from reports.page.section import Section
from reports.sections import training

HOSTILE = (
    "<script>alert(1)</script>",
    '"><img src=x onerror=alert(1)>',
    "</section></main><iframe src=//x>",
    "{{ 7 * 191 }}{% raw %}",
    "a\u202eb\u200bc",
    "\x00\x1b[31m",
)


class Parsed(HTMLParser):
    """Tags, attributes and text; every element is closed in its order."""

    def __init__(self, text: str) -> None:
        super().__init__(convert_charrefs=True)
        self.tags: list[str] = []
        self.attributes: list[str] = []
        self.open: list[str] = []
        self.text = ""
        self.feed(text)
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.attributes += [name for name, _ in attrs]
        self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.text += f" {data}"


def section_of(run: Any) -> Section:
    return training.build([collect(run.path)])


def text_of(section: Section) -> str:
    return " ".join(Parsed(str(section.body)).text.split())


def log(run: Any, model: str, steps: list[dict[str, float]], tail: str = "") -> None:
    folder = run.path / model
    folder.mkdir(exist_ok=True)
    (folder / "log.jsonl").write_text("".join(json.dumps(s) + "\n" for s in steps) + tail)


def chart(section: Section, title: str) -> Any:
    return next(c for c in section.charts.values() if c.title == title)


def test_every_step_is_drawn_and_told(builder: Any) -> None:
    steps = [{"step": i, "loss": 3.0 / i, "rewards/margins": 0.1 * i, "lr": 0.5} for i in range(1, 8)]
    log(builder, "M2", steps)
    builder.stage("M2", "train", {"steps": 7})
    section = section_of(builder)
    assert [(r["x"], r["y"]) for r in chart(section, "Loss").rows] == [
        (i, pytest.approx(3 / i, rel=1e-4)) for i in range(1, 8)
    ]
    assert {r["series"] for r in chart(section, "Reward margin").rows} == {"rewards/margins"}
    text = text_of(section)
    assert "7 steps. loss 3 → 0.4286" in text
    assert "lr 0.5 0.5 0.5 0.5" in text
    assert set(re.findall(r'data-chart="([^"]+)"', section.body)) == set(section.charts)


def test_what_a_training_learnt_is_not_read_from_one_batch(builder: Any) -> None:
    """The first batch and the last one have the same loss; the training has learnt all the same."""
    losses = [0.6931, *(0.68 - 0.004 * i for i in range(38)), 0.6934]
    log(builder, "M2", [{"step": i, "loss": loss} for i, loss in enumerate(losses, 1)])
    builder.stage("M2", "train", {"records": 400, "steps": 40, "first_loss": 0.6931, "final_loss": 0.6934})
    (found,) = training_facts.logs(builder.path / "M2")
    assert found.curves["loss"].first == pytest.approx(sum(losses[:4]) / 4)
    assert found.curves["loss"].last == pytest.approx(sum(losses[-4:]) / 4)
    builder.result("M2", quality_sampled=3.0)
    section = training.build([collect(builder.path)])
    assert section is not None
    text = re.sub(r"\s+", " ", re.sub(r"<[^>]*>", " ", str(section.body)))
    assert "0.6803 → 0.5754" in text
    assert "0.6931 → 0.6934" not in text


@pytest.mark.parametrize(("n", "points", "per"), [(300, 300, 1), (301, 151, 2), (3_000, 300, 10), (7_001, 292, 24)])
def test_long_logs_are_thinned_to_means(builder: Any, n: int, points: int, per: int) -> None:
    log(builder, "M1", [{"step": i, "loss": float(i)} for i in range(1, n + 1)])
    (found,) = training_facts.logs(builder.path / "M1")
    curve = found.curves["loss"]
    assert (found.steps, len(curve.points), curve.per_point) == (n, points, per)
    assert curve.points[0] == (per, (1 + per) / 2)
    assert curve.points[-1][0] == n
    tenth = n // 10
    assert (curve.first, curve.last) == ((1 + tenth) / 2, n - (tenth - 1) / 2)  # means of the first and the last tenth
    assert (curve.lowest, curve.highest) == (1, n)
    assert ("mean of" in str(section_of_with_stage(builder).body)) == (per > 1)


def section_of_with_stage(builder: Any) -> Section:
    builder.stage("M1", "train", {"steps": 1})
    return section_of(builder)


def test_numbers_that_begin_late_keep_their_steps(builder: Any) -> None:
    log(builder, "M1", [{"step": 1}, {"step": 2, "loss": 5.0}, {"step": 3}, {"step": 4, "loss": 6.0}])
    (found,) = training_facts.logs(builder.path / "M1")
    assert found.curves["loss"].points == ((2, 5.0), (4, 6.0))


@pytest.mark.parametrize("tail", ['{"step": 3, "lo', "[1, 2]\n", "[" * 60_000, '"' + "x" * 200_000 + '"\n', "\x00\n"])
def test_a_log_that_breaks_off_is_told_as_far_as_it_goes(builder: Any, tail: str) -> None:
    log(builder, "M1", [{"step": 1, "loss": 2.0}, {"step": 2, "loss": 1.0}], tail)
    (found,) = training_facts.logs(builder.path / "M1")
    assert (found.steps, found.complete) == (2, False)
    assert "the log breaks off here" in text_of(section_of_with_stage(builder))


def test_what_is_no_number_is_not_drawn(builder: Any) -> None:
    text = '{"step": 1, "loss": NaN, "a": true, "b": "x", "c": 1e999, "d": null, "e": 1}\n'
    (builder.path / "M1").mkdir()
    (builder.path / "M1" / "log.jsonl").write_text(text)
    (found,) = training_facts.logs(builder.path / "M1")
    assert list(found.curves) == ["e"]


def iteration(run: Any, model: str, **values: Any) -> None:
    (run.path / model).mkdir(exist_ok=True)
    (run.path / model / "iteration.json").write_text(json.dumps(values))


def test_the_chain_of_weights(builder: Any) -> None:
    iteration(
        builder, "M1", parent="M0", fingerprint="one", parent_fingerprint="zero", checks={"weights_differ": "passed"}
    )
    iteration(builder, "M2", parent="M1", fingerprint="two", parent_fingerprint="one")
    iteration(builder, "M3", parent="M2", fingerprint="three", parent_fingerprint="other")
    text = text_of(section_of(builder))
    assert "M1 one M0 zero —" in text
    assert "M2 two M1 one whole" in text
    assert "M3 three M2 other BROKEN: other weights" in text
    assert "Model weights differ M1 passed" in text


def test_what_became_of_prompts_and_candidates(builder: Any) -> None:
    builder.stage(
        "M2", "prompts", {"prompts": 60, "continuations": 100, "duplicate": 30, "too_short": 10, "similar": 0}
    )
    builder.stage("M2", "candidates", {"completions": 200})
    builder.stage("M2", "pairs", {"prompts": 60, "pairs": 15, "tied": 45, "duplicate": 50, "empty": 0})
    section = section_of(builder)
    bars = {
        title: [(r["part"], r["value"]) for r in chart(section, title).rows]
        for title in ("Written prompts", "Candidates", "Prompts that gave a pair")
    }
    assert bars == {
        "Written prompts": [("new", 60.0), ("duplicate", 30.0), ("too short", 10.0)],
        "Candidates": [("usable", 75.0), ("duplicate", 25.0)],
        "Prompts that gave a pair": [("pair", 25.0), ("tied", 75.0)],
    }
    text = text_of(section)
    assert "M2 100 60 60.0 % 30 30.0 % 10 10.0 %" in text
    assert "M2 60 15 25.0 % 45 75.0 %" in text


def health(run: Any, **values: Any) -> None:
    margin = Quantiles(n=9, mean=1.5, p10=1.0, p50=1.4, p90=2.0)
    told = IterationHealth(
        model="M2",
        parent="M1",
        judge="judge-key",
        n_judgments=200,
        grades={"0": 10, "4": 30, "10": 60},
        failures={"no_verdict": 90, "truncated": 10},
        margin=margin,
        chosen_chars=margin,
        rejected_chars=margin,
    )
    write_record(run.path / HEALTH, Health(iterations=(told.model_copy(update=values),)))


def test_scores_margins_and_lengths_come_from_health(builder: Any) -> None:
    builder.stage("M2", "candidates", {"completions": 200})
    health(builder)
    section = section_of(builder)
    histogram = [(r["label"], r["value"], r["series"]) for r in chart(section, "Scores given").rows]
    assert histogram == [("0", 10.0, "M2"), ("4", 30.0, "M2"), ("10", 60.0, "M2")]
    margin = chart(section, "Reward of the chosen minus that of the rejected").rows
    assert margin == [{"label": "M2", "value": 1.5, "low": 1.0, "high": 2.0}]
    text = text_of(section)
    assert "M2 M1 200 100 50.0 % no verdict 90, truncated 10" in text
    assert "not measured" not in text


def test_without_health_the_section_says_so_and_shows_the_rest(builder: Any) -> None:
    builder.stage("M2", "candidates", {"completions": 200})
    assert "Health was not measured" in text_of(section_of(builder))
    (builder.path / HEALTH).write_text("{")
    assert "health.json is damaged" in text_of(section_of(builder))


def test_control_rewards_are_no_judgments(builder: Any) -> None:
    health(builder, rewards="random", n_judgments=0, failures={})
    builder.stage("M2", "candidates", {"completions": 200})
    assert "Rewards of a control" in text_of(section_of(builder))


@pytest.mark.parametrize("payload", HOSTILE)
def test_hostile_texts_are_text(builder: Any, payload: str) -> None:
    clean: set[str] = set()
    for text in ("harmless", payload):
        iteration(builder, "M2", parent=text, fingerprint=text, parent_fingerprint=text, checks={text: text})
        builder.stage("M2", "candidates", {"completions": 3.0, text: 1.0})
        log(builder, "M2", [{"step": 1, text: 1.0, "loss": 1.0}, {"step": 2, text: 1.0, "loss": 2.0}])
        health(builder, judge=text, grades={text: 3}, failures={text: 2})
        parsed = Parsed(str(section_of(builder).body))
        clean = clean or set(parsed.tags)
    assert set(parsed.tags) == clean
    assert not any(a.startswith("on") or a in ("src", "style") for a in parsed.attributes)
    assert not re.search("[\u202a-\u202e\u200b\x00\x1b]", parsed.text)
    assert "1337" not in parsed.text


def test_several_runs_stand_apart(builder: Any) -> None:
    builder.stage("M1", "train", {"steps": 2})
    log(builder, "M1", [{"step": 1, "loss": 2.0}, {"step": 2, "loss": 1.0}])
    facts = collect(builder.path)
    section = training.build([facts, facts])
    assert len(section.charts) == 2
    assert str(section.body).count('<details class="run"') == 2


def test_a_run_without_models_renders(builder: Any) -> None:
    assert "Nothing has been trained yet." in text_of(section_of(builder))


def test_a_rehearsal_says_whose_work_it_is(builder: Any) -> None:
    told = {"what": ["own", "eft"], "weight": 1.0, "size": 64, "alone": False}
    record = told | {"from_the_model": 700, "from_people": 650}
    builder.stage("M2", "rehearsal", {"examples": 1350, "own": 700, "eft": 650, "of_people": 650})
    log(builder, "M2", [{"step": i, "loss": 3.0, "dpo_loss": 0.6, "rehearsal_loss": 2.0 / i} for i in (1, 2)])
    iteration(builder, "M2", parent="M1", fingerprint="two", rehearsal=record)
    iteration(builder, "M3", parent="M2", fingerprint="three")
    section = section_of(builder)
    text = text_of(section)
    assert "M2 own, eft 700 650 1 64 no" in text
    assert "use people's work again" in text
    assert [r["y"] for r in chart(section, "Loss of the rehearsed judgments").rows] == [2, 1]
    iteration(builder, "M2", parent="M1", fingerprint="two", rehearsal={"what": HOSTILE[0], "weight": HOSTILE[1]})
    assert not {"script", "img"} & set(Parsed(str(section_of(builder).body)).tags)


def test_without_a_rehearsal_there_is_no_table_of_it(builder: Any) -> None:
    iteration(builder, "M2", parent="M1", fingerprint="two")
    assert "Rehears" not in str(section_of(builder).body)


def test_the_step_that_was_kept_and_its_contests_are_shown(builder: Any) -> None:
    contests = [
        {"step": 200, "against": 0, "won": 150, "tied": 50, "lost": 53, "unread": 0, "win_rate": 0.692},
        {"step": 400, "against": 200, "won": 80, "tied": 50, "lost": 123, "unread": 0, "win_rate": 0.415},
    ]
    told = {"judge": HOSTILE[0], "prompts": 253, "chosen": 200, "stopped": True, "contests": contests}
    builder.stage("M2", "train", {"steps": 400, "kept_step": 200})
    iteration(builder, "M2", parent="M1", fingerprint="two", selection=told)
    section = section_of(builder)
    drawn = chart(section, "Checkpoints against the one before")
    assert [(r["x"], r["y"], r["series"]) for r in drawn.rows] == [(200, pytest.approx(69.2), "M2"), (400, 41.5, "M2")]
    assert "M2 200 0 150 50 53 0 69.2 % kept" in text_of(section)
    assert "M2 400 200 80 50 123 0 41.5 % <script>" in text_of(section)
    assert "script" not in Parsed(str(section.body)).tags
    for broken in ({"contests": "x"}, {"contests": [1, {"step": "a"}, {"step": 1e300}]}, {"contests": [[]] * 300}):
        iteration(builder, "M2", parent="M1", fingerprint="two", selection=broken)
        assert "Checkpoints against" not in str(section_of(builder).body)
