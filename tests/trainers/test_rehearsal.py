"""What is rehearsed: judgments that say what they claim to, from whom they claim to be, and the same when resumed."""

from __future__ import annotations

import tracemalloc
from collections import Counter
from collections.abc import Collection, Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest

from selfreward_bench import recipes
from selfreward_bench.config import RehearsalConfig, RunConfig, SeedConfig
from selfreward_bench.engines.base import ChoiceRequest, GenerationRequest
from selfreward_bench.engines.scripted import ScriptedEngine, prompt_text
from selfreward_bench.errors import DataError
from selfreward_bench.judges.pointwise import PointwiseJudge
from selfreward_bench.judges.prompts import load_judge_prompt
from selfreward_bench.progress import Silent
from selfreward_bench.storage import jsonl
from selfreward_bench.storage.records import Records
from selfreward_bench.types import Completion, Example, Judgment, Message, Prompt, RankedPrompt, RankedResponse
from trainers import rehearsal
from trainers.rehearsal import KINDS, Source, rows_wanted, write_rehearsal
from trainers.rewards import judge_items, write_judgments

JUDGE = load_judge_prompt("micro")
THINGS = ("cat", "dog", "bus", "van", "hat", "cap")
PROMPTS = [
    Prompt(id=f"p{i}", messages=(Message(role="user", content=f"Describe the {t}."),)) for i, t in enumerate(THINGS)
]
COMPLETIONS = [
    Completion(prompt_id=p.id, index=k, text=text, n_tokens=2, finish_reason="stop", seed=0)
    for p, t in zip(PROMPTS, THINGS, strict=True)
    for k, text in enumerate((f"The {t}.", f"The {t} is big.", f"A {t} is small and red."))
]
RANKED = [
    RankedPrompt(
        id=f"r{i}",
        messages=(Message(role="user", content=f"Paint the {t}."),),
        responses=(RankedResponse(text=f"The {t} is blue.", rank=0), RankedResponse(text="No.", rank=1)),
    )
    for i, t in enumerate(THINGS)
]
SEEDS = SeedConfig(eft_flatten=None)


def fits(prompt: Any) -> int:
    """What the scripted model thinks of a response: by its words, and whether it speaks of what was asked."""
    asked, _, response = prompt_text(prompt).partition("Answer: ")
    named = next((t for t in THINGS if f"the {t}" in asked), "-")
    return min(5, len(response.split())) if named in response else 0


def written(request: GenerationRequest, k: int) -> str:
    grade = fits(request.prompt)
    return f"Critique {grade}.\nScore: {max(0, grade - k % 2)}"  # every second sample is a point lower


def likely(request: ChoiceRequest) -> list[float]:
    return [0.0 if choice.strip() == str(fits(request.prompt)) else -30.0 for choice in request.choices]


def judge(engine: ScriptedEngine | None = None, **settings: Any) -> PointwiseJudge:
    options = {"mode": "reasoned", "samples": 4, "stage": "M2/rehearsal"} | settings
    return PointwiseJudge(engine or ScriptedEngine(written, likely, batch_size=4), JUDGE, **options)


def judgments(path: Path, by: PointwiseJudge) -> list[Judgment]:
    write_judgments(by, PROMPTS, COMPLETIONS, path=path, reporter=Silent())
    return jsonl.read(path, Judgment)


def make(
    directory: Path,
    *kinds: str,
    by: PointwiseJudge | None = None,
    wanted: int = 100,
    seeds: SeedConfig = SEEDS,
    given: Sequence[Judgment] | None = None,
    examples: Sequence[Example] = (),
    run_seed: int = 3,
) -> tuple[list[Example], dict[str, float]]:
    by = by or judge()
    found = judgments(directory.parent / "judgments.jsonl", by) if given is None else given
    directory.mkdir(exist_ok=True)
    source = Source(PROMPTS, COMPLETIONS, found, RANKED, examples, seeds)
    counts = write_rehearsal(
        by, kinds, source, wanted=wanted, directory=directory, run_seed=run_seed, reporter=Silent()
    )
    return jsonl.read(directory / "rehearsal.jsonl", Example), counts


def verdict(example: Example) -> float | None:
    return JUDGE.read(example.completion[-1].content, truncated=False).score


def test_own_judgments_stand_as_they_were_given_and_ask_as_the_judge_asks(tmp_path: Path) -> None:
    made, counts = make(tmp_path / "M2", "own")
    assert [e.id for e in made] == [f"own/{item.id}" for item in judge_items(PROMPTS, COMPLETIONS)]
    for example, item in zip(made, judge_items(PROMPTS, COMPLETIONS), strict=True):
        assert example.prompt == JUDGE.render(item.messages, response=item.response)
        grade = fits(example.prompt)
        assert example.completion[-1].content == f"Critique {grade}.\nScore: {grade}"
    assert (counts["examples"], counts["own"], counts["judgments"], counts["of_people"]) == (18, 18, 0, 0)


def test_a_sampled_judgment_is_its_text_and_a_bare_distribution_the_grade_alone(tmp_path: Path) -> None:
    sampled, _ = make(tmp_path / "a", "own", by=judge(mode="sampled"))
    assert sampled[0].completion[-1].content == "Critique 2.\nScore: 2"
    (tmp_path / "b").mkdir()
    expected, _ = make(tmp_path / "b" / "M2", "own", by=judge(mode="expected"))
    assert expected[0].completion[-1].content == "Score: 2"


def test_soft_grades_have_the_mean_of_the_samples_behind_the_own_critique(tmp_path: Path) -> None:
    """Samples of a grade g are g, g-1, g, g-1: half of the rows get g, half g-1."""
    many = []
    for seed in range(20):
        room = tmp_path / f"{seed}"
        room.mkdir()
        made, counts = make(room / "M2", "soft", run_seed=seed)
        assert counts["judgments"] == 4 * len(made) == 4 * 18
        many += made
    for example in many:
        critique, _, told = example.completion[-1].content.partition("\n")
        assert critique == f"Critique {fits(example.prompt)}."
        assert verdict(example) in (fits(example.prompt), fits(example.prompt) - 1)
        assert told == f"Score: {verdict(example):g}"
    lower = sum(verdict(e) != fits(e.prompt) for e in many) / len(many)
    assert 0.4 < lower < 0.6


def test_contrasts_hold_an_answer_against_that_of_a_similar_prompt_and_keep_the_right_order(tmp_path: Path) -> None:
    made, counts = make(tmp_path / "M2", "contrast")
    assert counts["judgments"] == 6
    assert counts["contrast"] == len(made) == 12
    for right, wrong in zip(made[::2], made[1::2], strict=True):
        assert right.prompt != wrong.prompt
        asked = right.prompt[0].content.partition("Answer: ")[0]
        assert wrong.prompt[0].content.startswith(asked)  # another answer to the same prompt
        assert (verdict(right) or 0) > (verdict(wrong) or 0) == 0
    unfit = judge(ScriptedEngine(lambda request, k: "Fine.\nScore: 3", lambda request: [-9, -9, -9, 0.0, -9, -9]))
    (tmp_path / "b").mkdir()
    with pytest.raises(DataError, match=r"nothing can be rehearsed \(contrast\).*order_wrong 6"):
        make(tmp_path / "b" / "M2", "contrast", by=unfit)


def test_seed_examples_come_again_and_renewed_ones_agree_with_people(tmp_path: Path) -> None:
    seed = [
        Example(
            id=f"e{i}", prompt=PROMPTS[0].messages, completion=(Message(role="assistant", content=f"Ok.\nScore: {i}"),)
        )
        for i in range(4)
    ]
    made, counts = make(tmp_path / "M2", "eft", "renewed", examples=seed)
    again = [e for e in made if e.id.startswith("eft/")]
    assert [(e.prompt, e.completion) for e in again] == [(e.prompt, e.completion) for e in seed]
    new = [e for e in made if e.id.startswith("renewed/")]
    assert {e.source for e in new} == {"renewed"}
    assert Counter(verdict(e) for e in new) == {4: 6, 0: 6}
    assert counts["of_people"] == len(made) == 16
    assert counts["judgments"] == 12 * SEEDS.eft_samples


def test_where_the_parent_gave_no_rewards_it_is_asked_about_some_answers(tmp_path: Path) -> None:
    """Of a control there are no judgments; those of another judge are not rehearsed."""
    strange = [j.model_copy(update={"judge": "other"}) for j in judgments(tmp_path / "j.jsonl", judge())]
    for place, given in (("a", []), ("b", strange)):
        made, counts = make(tmp_path / place, "own", given=given, wanted=4)
        assert (len(made), counts["judgments"]) == (4, 8)
        assert all(verdict(e) == fits(e.prompt) for e in made)


def test_every_kind_has_its_share_thinned_over_the_scores(tmp_path: Path) -> None:
    made, counts = make(tmp_path / "M2", "own", "contrast", wanted=12, seeds=SeedConfig(eft_flatten=1.0))
    assert (counts["own"], counts["contrast"]) == (6, 6)
    told = Counter(verdict(e) for e in made)
    assert {f"score_{score:g}": n for score, n in told.items() if score is not None} == {
        name: n for name, n in counts.items() if name.startswith("score_")
    }
    low = [e for e in made if e.id.startswith("contrast/") and verdict(e) == 0]
    assert len(low) <= 3  # half of all before thinning
    assert made == make(tmp_path / "again", "own", "contrast", wanted=12, seeds=SeedConfig(eft_flatten=1.0))[0]
    other = make(tmp_path / "other", "own", "contrast", wanted=12, seeds=SeedConfig(eft_flatten=1.0), run_seed=4)[0]
    assert made != other


class Interrupted(ScriptedEngine):
    """Stops as a killed process does, after some batches."""

    left = 10**9

    def generate(self, requests: Sequence[GenerationRequest], done: Collection[str] = ()) -> Iterator[list[Completion]]:
        for batch in super().generate(requests, done):
            if self.left == 0:
                raise KeyboardInterrupt
            self.left -= 1
            yield batch


def test_a_stage_that_was_cut_off_goes_on_and_ends_with_the_same_bytes(tmp_path: Path) -> None:
    given = judgments(tmp_path / "j.jsonl", judge())
    make(tmp_path / "whole", "soft", given=given)
    engine = Interrupted(written, likely, batch_size=4)
    engine.left = 2
    with pytest.raises(KeyboardInterrupt):
        make(tmp_path / "cut", "soft", by=judge(engine), given=given)
    assert not (tmp_path / "cut" / "rehearsal.jsonl").exists()
    kept = len(jsonl.read(tmp_path / "cut" / "rehearsal.soft.jsonl", Judgment))
    assert kept == 2 * 4 * 4
    engine = ScriptedEngine(written, likely, batch_size=4)
    make(tmp_path / "cut", "soft", by=judge(engine), given=given)
    assert len(engine.requests) < 18
    for name in ("rehearsal.jsonl", "rehearsal.soft.jsonl"):
        assert (tmp_path / "cut" / name).read_bytes() == (tmp_path / "whole" / name).read_bytes()


def test_of_what_may_be_rehearsed_no_text_is_held(tmp_path: Path) -> None:
    """A judge prompt was put together for each judged answer, and all judgments were read at once."""
    by, count, told = judge(mode="sampled", samples=1), 200, "Because. " * 300
    prompts = [Prompt(id=f"p{i}", messages=(Message(role="user", content=f"Describe {i}."),)) for i in range(count)]
    answers = [
        Completion(prompt_id=p.id, index=0, text=f"{p.id} {told}", n_tokens=2, finish_reason="stop", seed=0)
        for p in prompts
    ]
    given = [
        Judgment(prompt_id=p.id, index=0, sample=0, judge=by.key, score=i % 6, raw=f"{told}\nScore: {i % 6}")
        for i, p in enumerate(prompts)
    ]
    for name, records in (("prompts", prompts), ("answers", answers), ("given", given)):
        jsonl.write(tmp_path / name, records)
    stored = Records(tmp_path / "prompts", Prompt), Records(tmp_path / "answers", Completion)
    source = Source(*stored, Records(tmp_path / "given", Judgment), RANKED, [], SEEDS)
    desk = rehearsal._Desk(by, source, 10, tmp_path, 3, Silent())
    tracemalloc.start()
    rows = desk.rows("own")
    held, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert [row.score for row in rows] == [j.score for j in given]
    assert held < 1000 * count
    example = rows[7].example()
    assert (example.id, verdict(example)) == ("own/p7/0", 1)
    assert answers[7].text.strip() in example.prompt[0].content


def test_as_many_rows_are_wanted_as_a_training_has_room_for() -> None:
    config = recipes.load("micro", ["dpo.epochs=1.5", "dpo.batch_size=8", "rehearsal.size=10"])
    assert rows_wanted(config, 17) == 10 * 5  # three batches an epoch
    assert KINDS.keys() == {"own", "contrast", "soft", "eft", "renewed"}


def test_by_default_nothing_is_rehearsed_and_a_word_is_a_list_of_one() -> None:
    assert RunConfig().rehearsal == RehearsalConfig(what=()) == recipes.load(None, ["rehearsal.what=none"]).rehearsal
    assert recipes.load(None, ["rehearsal.what=own"]).rehearsal.what == ("own",)
    assert recipes.load(None, ["rehearsal.what=[soft, own, soft]"]).rehearsal.what == ("soft", "own")
    assert "rehearsal" not in RunConfig().recorded()  # what was examined before stays examined
    assert set(rehearsal.READ.values()) == {"completions.jsonl", "judgments.jsonl", "pairs.jsonl"}
