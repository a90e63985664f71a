"""What a role's name means, what cannot be, and what is said of it before anything is made."""

from __future__ import annotations

from pathlib import Path

import pytest

from selfreward_bench import recipes
from selfreward_bench.config import RunConfig
from selfreward_bench.errors import ConfigError
from selfreward_bench.micro import data_path
from selfreward_bench.progress import Silent
from selfreward_bench.storage import jsonl
from selfreward_bench.storage.rundir import RunDir
from selfreward_bench.types import Example, RankedPrompt
from trainers import roles
from trainers.iteration import _Loop

SERVED = "openai:judge@http://127.0.0.1:9/v1"


def config(*settings: str) -> RunConfig:
    return recipes.load("micro", list(settings))


@pytest.mark.parametrize(
    ("role", "text", "expected"),
    [
        ("prompts.writer", "current", "M1"),
        ("prompts.writer", "base", "M0"),
        ("judge.model", "self", "M1"),
        ("judge.model", "current", "M1"),
        ("judge.model", "base", "M0"),
        ("seeds.reviewer", "current", "M1"),
        ("seeds.reviewer", "owner/name", "seeds.reviewer"),
        ("judge.model", SERVED, "judge.model"),
    ],
)
def test_who_has_a_role(role: str, text: str, expected: str) -> None:
    assert roles.who(config(f"{role}={text}", "judge.mode=sampled"), role, "M1") == expected


def test_the_defaults_are_the_papers_and_the_recipes() -> None:
    plain = config()
    assert [roles.given(plain, r) for r in ("prompts.writer", "seeds.reviewer", "judge.model")] == [
        "base",
        "current",
        "self",
    ]
    assert list(roles.others(plain)) == list(roles.problems(plain)) == []
    assert roles.helped(plain) == frozenset()


@pytest.mark.parametrize(
    ("settings", "signal"),
    [
        ([], "self"),
        (["judge.model=current"], "self"),
        (["judge.model=base"], "rlaif"),
        ([f"judge.model={SERVED}"], "rlaif"),
        ([f"judge.model={SERVED}", "rewards=length"], "length"),
        (["rewards=oracle"], "oracle"),
    ],
)
def test_only_the_models_own_judgments_are_self_reward(settings: list[str], signal: str) -> None:
    assert config(*settings).signal == signal


def test_which_stages_others_work_on(tmp_path: Path) -> None:
    (tmp_path / "mine.jsonl").write_text("")
    assert roles.helped(config(f"prompts.writer={tmp_path / 'mine.jsonl'}")) == {"prompts"}
    assert roles.helped(config(f"judge.model={SERVED}", "seeds.reviewer=owner/name")) == {"judgments", "reviews"}
    assert roles.helped(config(f"judge.model={SERVED}", "rewards=random")) == frozenset()


@pytest.mark.parametrize(
    ("settings", "told"),
    [
        (["engine.kind=openai"], r"engine\.kind: openai is a served model.*judge\.model"),
        (
            [f"judge.model={SERVED}", "judge.mode=expected"],
            r"judge\.model: .*: expected needs.*judge\.mode=sampled",
        ),
        ([f"judge.model={SERVED}", "judge.mode=reasoned"], r"judge\.model: .*judge\.mode: reasoned"),
        (["judge.model=nowhere"], r"judge\.model: .*nowhere"),
        (["prompts.writer=http://127.0.0.1/v1"], r"prompts\.writer: "),
        (["seeds.reviewer=openai:nameless"], r"seeds\.reviewer: "),
        (["judge.model=ranks"], r"judge\.model: ranks is for seeds\.reviewer alone"),
    ],
)
def test_what_cannot_be_is_told_with_its_key(settings: list[str], told: str) -> None:
    with pytest.raises(ConfigError, match=rf"(?s)^The roles of this run cannot be filled:\n  {told}"):
        roles.check(config(*settings))


def test_all_problems_are_told_at_once() -> None:
    found = list(roles.problems(config("engine.kind=openai", "judge.model=nowhere", "seeds.reviewer=nobody")))
    assert [text.partition(":")[0] for text in found] == ["engine.kind", "seeds.reviewer", "judge.model"]


def test_a_variable_that_holds_a_key_is_not_shown() -> None:
    assert roles.shown(config(f"judge.model={SERVED}#MY_KEY"), "judge.model") == SERVED


def test_files_of_prompts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("plain").write_text("")
    Path("table").mkdir()
    Path("table/dataset_info.json").write_text("{}")
    for name in ("shards/data", "model"):
        Path(name).mkdir(parents=True)
        Path(name, "train-00000-of-00001.parquet").write_text("")
    Path("model/config.json").write_text("{}")
    files = ("a.jsonl", "a.json.gz", "a.parquet", "hf:me/data", "plain", "table", "shards")
    assert [roles.is_prompt_file(name) for name in files] == [True] * 7
    assert [roles.is_prompt_file(name) for name in ("base", "current", "model", "me/model", SERVED)] == [False] * 5


@pytest.mark.slow
def test_human_ranks_become_grades_where_nobody_reviews(tmp_path: Path) -> None:
    bare = [
        p.model_copy(update={"responses": tuple(r.model_copy(update={"review": None}) for r in p.responses)})
        for p in jsonl.read(data_path("eft"), RankedPrompt)[:6]
    ]
    jsonl.write(tmp_path / "eft.jsonl", bare)
    run = RunDir.create(tmp_path / "run", config(f"seeds.eft={tmp_path / 'eft.jsonl'}", "seeds.reviewer=ranks"))
    loop = _Loop(run, Silent(), None)
    loop.seed_ift()
    loop.seed_eft()
    examples = jsonl.read(run.path / "M1/eft.jsonl", Example)
    assert {e.completion[-1].content for e in examples} >= {"Score: 5", "Score: 0"}
    assert not (run.path / "M1/reviews.jsonl").read_bytes()
    assert not (run.path / "SFT").exists()
