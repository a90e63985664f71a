"""Rewards: judgments are stored once per distinct answer, shared by equal ones, and never guessed."""

from __future__ import annotations

import statistics
from collections.abc import Collection, Iterator, Sequence
from pathlib import Path
from typing import Any, get_args

import pytest

from selfreward_bench.config import Rewards
from selfreward_bench.engines.base import TOO_LONG, GenerationRequest
from selfreward_bench.engines.scripted import ScriptedEngine
from selfreward_bench.errors import ConfigError, DataError, UnknownNameError
from selfreward_bench.judges.pointwise import PointwiseJudge
from selfreward_bench.judges.prompts import load_judge_prompt
from selfreward_bench.progress import Silent
from selfreward_bench.storage import jsonl
from selfreward_bench.types import Completion, Judgment, Message, Prompt, Reward
from trainers.answers import Answers
from trainers.rewards import REWARDS, rewarded, write_judgments

PROMPTS = [Prompt(id=f"p{i}", messages=(Message(role="user", content=f"Task {i}"),)) for i in range(6)]
TEXTS = ("One.", "Two words.", "One.", "")
COMPLETIONS = [
    Completion(prompt_id=p.id, index=k, text=text, n_tokens=1, finish_reason="stop", seed=0)
    for p in reversed(PROMPTS)
    for k, text in enumerate(TEXTS)
]
STAGE = "M2/judgments"


def verdict(request: GenerationRequest, k: int) -> str:
    return ("Score: 4", "Score: 2", "I like it.", "Score: 9")[request.seeds[k] % 4]


class Interrupted(ScriptedEngine):
    batches_left = 10**9

    def generate(self, requests: Sequence[GenerationRequest], done: Collection[str] = ()) -> Iterator[list[Completion]]:
        for batch in super().generate(requests, done):
            if self.batches_left == 0:
                raise KeyboardInterrupt
            self.batches_left -= 1
            yield batch


def judge(engine: ScriptedEngine | None = None, **settings: Any) -> PointwiseJudge:
    engine = engine or ScriptedEngine(verdict, batch_size=4)
    return PointwiseJudge(engine, load_judge_prompt("additive-5pt"), stage=STAGE, **settings)


def run(
    path: Path, by: PointwiseJudge | None = None, completions: Sequence[Completion] = COMPLETIONS
) -> dict[str, float]:
    return write_judgments(by or judge(), PROMPTS, completions, path=path, reporter=Silent())


def give(kind: str, answers: Answers | None = None, **arguments: Any) -> list[Reward]:
    found = rewarded(kind, answers or Answers(PROMPTS, COMPLETIONS), **arguments)
    return [reward for _, _, rewards in found for reward in rewards]


def test_counts_are_those_of_the_records(tmp_path: Path) -> None:
    counts = run(tmp_path / "j")
    records = jsonl.read(tmp_path / "j", Judgment, unique=lambda j: j.id)
    assert counts["responses"] == 24
    assert counts["judged"] == 18
    assert counts["shared"] == 6
    assert counts["judgments"] == len(records) == 54
    assert counts["parsed"] == sum(r.score is not None for r in records)
    assert counts["no_verdict"] + counts["out_of_range"] + counts["parsed"] == 54
    assert counts["no_verdict"] > 0 < counts["out_of_range"]
    assert counts["mean_score"] == pytest.approx(statistics.fmean(r.score for r in records if r.score is not None))


def test_equal_answers_are_judged_once_and_share_the_reward(tmp_path: Path) -> None:
    run(tmp_path / "j")
    records = jsonl.read(tmp_path / "j", Judgment)
    assert {r.index for r in records} == {0, 1, 3}
    given = give("self", judgments=records)
    assert [r.id for r in given] == [f"p{i}/{k}" for i in range(6) for k in range(4)]
    for first, copy in zip(given[0::4], given[2::4], strict=True):
        assert copy.model_copy(update={"index": 0, "n_tokens": first.n_tokens}) == first
        assert copy.n_tokens == 0
    assert sum(r.n_tokens for r in given) == sum(r.n_tokens for r in records)


def test_mean_of_the_parsed_judgments_and_none_where_none_parsed(tmp_path: Path) -> None:
    run(tmp_path / "j")
    records = jsonl.read(tmp_path / "j", Judgment)
    given = {r.id: r for r in give("self", judgments=records)}
    for name, reward in given.items():
        scores = [r.score for r in records if f"{r.prompt_id}/{r.index}" == name and r.score is not None]
        if not name.endswith("/2"):
            assert reward.score == (statistics.fmean(scores) if scores else None)
    silent = judge(ScriptedEngine({"*": "No verdict at all."}))
    assert run(tmp_path / "s", silent)["parsed"] == 0
    assert {r.score for r in give("self", judgments=jsonl.read(tmp_path / "s", Judgment))} == {None}


@pytest.mark.parametrize("batches", [0, 1, 3, 4])
def test_resumed_after_an_exception_equals_undisturbed(tmp_path: Path, batches: int) -> None:
    counts = run(tmp_path / "a")
    engine = Interrupted(verdict, batch_size=4)
    engine.batches_left = batches
    with pytest.raises(KeyboardInterrupt):
        run(tmp_path / "b", judge(engine))
    assert run(tmp_path / "b") == counts
    assert (tmp_path / "b").read_bytes() == (tmp_path / "a").read_bytes()


def test_resumed_after_a_torn_write_equals_undisturbed(tmp_path: Path) -> None:
    counts = run(tmp_path / "a")
    content = (tmp_path / "a").read_bytes()
    for cut in range(0, len(content), 499):
        (tmp_path / "b").write_bytes(content[:cut])
        assert run(tmp_path / "b") == counts, cut
        assert (tmp_path / "b").read_bytes() == content, cut


def test_expected_mode_is_one_judgment_each(tmp_path: Path) -> None:
    engine = ScriptedEngine({}, lambda request: [-1.0 - i for i in range(len(request.choices))])
    counts = run(tmp_path / "j", judge(engine, mode="expected"))
    assert counts["judgments"] == counts["parsed"] == 18
    assert run(tmp_path / "j", judge(ScriptedEngine({}), mode="expected")) == counts  # all there: nothing is asked


def test_judgments_of_another_judge_or_other_answers_are_refused(tmp_path: Path) -> None:
    run(tmp_path / "j")
    with pytest.raises(DataError, match=r"sampled-k2.*--from-stage"):
        run(tmp_path / "j", judge(samples=2))
    with pytest.raises(DataError, match="other responses"):
        run(tmp_path / "j", completions=COMPLETIONS[4:])


def test_a_raw_text_that_no_file_holds_is_stored_cleaned(tmp_path: Path) -> None:
    run(tmp_path / "j", judge(ScriptedEngine({"*": "fine\ud800\nScore: 3"})))
    assert {j.raw for j in jsonl.read(tmp_path / "j", Judgment)} == {"fine\ufffd\nScore: 3"}


def test_random_is_uniform_seeded_and_blind_to_the_text() -> None:
    given = give("random", run_seed=1)
    assert given == give("random", run_seed=1)
    assert [r.score for r in given] != [r.score for r in give("random", run_seed=2)]
    many = [PROMPTS[0].model_copy(update={"id": f"q{i}"}) for i in range(1000)]
    answers = [COMPLETIONS[0].model_copy(update={"prompt_id": p.id}) for p in many]
    scores = [r.score or 0.0 for r in give("random", Answers(many, answers))]
    assert statistics.fmean(scores) == pytest.approx(2.5, abs=0.15)
    assert min(scores) < 0.1
    assert 4.9 < max(scores) <= 5


def test_length_is_in_characters() -> None:
    assert [r.score for r in give("length")[:4]] == [4.0, 10.0, 4.0, 0.0]


def test_oracle_is_injected_and_may_not_know() -> None:
    asked: list[tuple[str, str]] = []

    def oracle(prompt: Prompt, text: str) -> float | None:
        asked.append((prompt.id, text))
        return None if not text else 5.0

    assert [r.score for r in give("oracle", oracle=oracle)[:4]] == [5.0, 5.0, 5.0, None]
    assert asked[:3] == [("p0", "One."), ("p0", "Two words."), ("p0", "")]
    with pytest.raises(ConfigError, match="micro-world"):
        give("oracle")


def test_unknown_kinds_and_missing_judgments_are_errors(tmp_path: Path) -> None:
    with pytest.raises(UnknownNameError, match="Did you mean 'random'"):
        give("randon")
    run(tmp_path / "j")
    with pytest.raises(DataError, match="'p0/0' has no judgment"):
        give("self", judgments=[j for j in jsonl.read(tmp_path / "j", Judgment) if j.prompt_id != "p0"])
    assert set(REWARDS) == set(get_args(Rewards))


def test_nothing_to_judge_still_leaves_a_file(tmp_path: Path) -> None:
    counts = run(tmp_path / "j", completions=[])
    assert counts["judgments"] == 0
    assert (tmp_path / "j").read_bytes() == b""


def test_a_response_too_long_to_be_judged_is_an_unparsed_judgment_with_its_reason(tmp_path: Path) -> None:
    class ShortContext(Interrupted):
        def generate(
            self, requests: Sequence[GenerationRequest], done: Collection[str] = ()
        ) -> Iterator[list[Completion]]:
            self.failures = {r.id: TOO_LONG for r in requests if r.id.endswith(long)}
            return super().generate([r for r in requests if r.id not in self.failures], done)

    long = "p2/1"
    path = tmp_path / "j.jsonl"
    engine = ShortContext(verdict, batch_size=4)
    counts = run(path, judge(engine))
    assert counts["too_long"] == 3
    assert counts["judgments"] == len(jsonl.read(path, Judgment, unique=lambda j: j.id)) == 54
    given = {r.id: r for r in give("self", judgments=jsonl.read(path, Judgment))}
    assert (given["p2/1"].score, given["p2/1"].n_parsed, given["p2/1"].n_judgments) == (None, 0, 3)
    undisturbed = path.read_bytes()
    path.write_bytes(undisturbed[:-30])  # killed within the last write
    assert run(path, judge(ShortContext(verdict, batch_size=4))) == counts
    assert path.read_bytes() == undisturbed
    long = ""
    with pytest.raises(DataError, match=r"none was judged.*judge\.prompt.*--from-stage M2/judgments"):
        run(tmp_path / "none.jsonl", judge(ShortContext(verdict, batch_size=4)))


def test_a_judgment_that_did_not_parse_is_kept_and_not_asked_for_again(tmp_path: Path) -> None:
    path = tmp_path / "j.jsonl"
    counts = run(path)
    assert counts["no_verdict"] > 0
    engine = ScriptedEngine(lambda request, k: "Score: 5", batch_size=4)
    assert run(path, judge(engine)) == counts
    assert engine.requests == []
