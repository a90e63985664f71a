"""Helpers: what they are known by, that they are opened late, and what is found out of them before anything is made."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from selfreward_bench import recipes
from selfreward_bench.engines.base import GenerationRequest
from selfreward_bench.errors import ConfigError, DataError, EngineError
from selfreward_bench.prices import Budget, PriceTable
from selfreward_bench.storage.model_files import model_fingerprint
from selfreward_bench.types import Message
from trainers.serving import Helper, Helpers, ServedRecord, services_of

SERVED = "openai:judge@http://127.0.0.1:9/v1"


def helper(role: str, text: str, *settings: str) -> Helper:
    config = recipes.load("micro", [f"{role}={text}", "judge.mode=sampled", *settings])
    return Helper(config, role, services_of(config))


def test_a_local_model_is_known_by_its_weights_wherever_it_lies(tiny_model: Path, tmp_path: Path) -> None:
    copy = shutil.copytree(tiny_model, tmp_path / "copy")
    prints = {helper("judge.model", str(path)).fingerprint for path in (tiny_model, copy)}
    assert prints == {model_fingerprint(tiny_model)}
    (copy / "chat_template.jinja").write_text("{{ messages }}")
    assert helper("judge.model", str(copy)).fingerprint not in prints


def test_a_template_that_stands_in_is_part_of_it(tiny_model: Path, tmp_path: Path) -> None:
    bare = shutil.copytree(tiny_model, tmp_path / "bare")
    (bare / "chat_template.jinja").unlink()
    named = helper("judge.model", str(bare), "chat_template=plain")
    assert named.fingerprint.startswith(f"{model_fingerprint(bare)}+")
    own = helper("judge.model", str(tiny_model), "chat_template=plain")  # which brings one
    assert own.fingerprint == model_fingerprint(tiny_model)


def test_a_local_model_answers(tiny_model: Path) -> None:
    engine = helper("prompts.writer", str(tiny_model)).open()
    asked = GenerationRequest("a", (Message(role="user", content="Name the drum."),), max_new_tokens=3)
    ((answer,),) = engine.generate([asked])
    engine.close()
    assert answer.prompt_id == "a"


def test_a_served_model_is_known_by_its_name_and_how_it_judges() -> None:
    plain, keyed = helper("judge.model", SERVED), helper("judge.model", f"{SERVED}#MY_KEY")
    assert plain.fingerprint == keyed.fingerprint
    assert (keyed.name, keyed.served) == (SERVED, True)
    thrifty = "judge.request.max_tokens=9"
    assert helper("judge.model", SERVED, thrifty).fingerprint != plain.fingerprint
    assert helper("seeds.reviewer", SERVED, thrifty).fingerprint == helper("judge.model", SERVED, thrifty).fingerprint
    assert helper("prompts.writer", SERVED, thrifty).fingerprint == plain.fingerprint  # it is asked for no verdict
    here, there = (
        helper("judge.model", f"openai:judge@http://127.0.0.1:{port}/v1", "judge.request.name=mine") for port in (8, 9)
    )
    assert here.fingerprint == there.fingerprint


def helpers(*settings: str, budget: Budget | None = None, replay: bool = False) -> Helpers:
    config = recipes.load("micro", ["judge.mode=sampled", *settings])
    return Helpers(config, services_of(config, budget=budget, replay=replay))


def test_what_would_stop_a_helper_is_found_first(tiny_model: Path, tmp_path: Path) -> None:
    limited = Budget(PriceTable(), 1.0)
    with pytest.raises(ConfigError, match="no price for 'judge'"):
        helpers(f"judge.model={SERVED}", budget=limited).check()
    with pytest.raises(ConfigError, match="NOT_SET_ANYWHERE"):
        helpers(f"prompts.writer={SERVED}#NOT_SET_ANYWHERE").check()
    helpers(f"prompts.writer={SERVED}#NOT_SET_ANYWHERE", budget=limited, replay=True).check()  # nobody is asked
    helpers(f"seeds.reviewer={tiny_model}").check()
    broken = shutil.copytree(tiny_model, tmp_path / "broken")
    (broken / "tokenizer.json").unlink()
    with pytest.raises(EngineError, match="tokenizer"):
        helpers(f"seeds.reviewer={broken}").check()
    (tmp_path / "prompts.jsonl").write_text('{"id": "a"}\n')
    with pytest.raises(DataError, match=r"prompts\.jsonl"):
        helpers(f"prompts.writer={tmp_path / 'prompts.jsonl'}").check()


def test_a_control_needs_no_judge(tmp_path: Path) -> None:
    helpers(f"judge.model={SERVED}#NOT_SET_ANYWHERE", "rewards=random").check()


def test_what_a_server_told_is_kept_over_calls(tmp_path: Path) -> None:
    class Told:
        def __init__(self, snapshot: str, *changes: str) -> None:
            self.snapshot, self.changes = snapshot, dict.fromkeys(changes, 1)

    file = tmp_path / "judgments.served.json"
    known = helpers(f"judge.model={SERVED}#K", "judge.request.max_tokens=9")
    known.record("judge.model", Told("judge-2", "no seed"), file)  # type: ignore[arg-type]
    known.record("judge.model", Told("judge-1, judge-2"), file)  # type: ignore[arg-type]
    assert ServedRecord.model_validate(json.loads(file.read_text())) == ServedRecord(
        model=SERVED, snapshots=("judge-1", "judge-2"), asked=("9 tokens", "no seed")
    )
