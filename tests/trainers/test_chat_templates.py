"""A base without chat template is trained with the one that the recipe names, and evaluated with it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

import leaderboards
from selfreward_bench import recipes
from selfreward_bench.config import EngineConfig, SftConfig
from selfreward_bench.engines import open_engine
from selfreward_bench.engines.base import GenerationRequest
from selfreward_bench.engines.templates import PLAIN_TEMPLATE
from selfreward_bench.errors import ConfigError, DataError, IncompatibleRunError, TrainingError
from selfreward_bench.progress import Silent
from selfreward_bench.storage.rundir import RunDir
from selfreward_bench.types import EvalResult, Example, Message
from trainers.iteration import run_iteration
from trainers.rendering import load_tokenizer, render_turns
from trainers.sft import train_sft

from .conftest import CHAT_TEMPLATE, examples, make_model

CPU = EngineConfig(device="cpu")
CONFIG = SftConfig(batch_size=8, epochs=1, dropout=0.0, max_length=256)
VICUNA = "fastchat:vicuna_v1.1"
NO_RUDENESS = "{% if 'Shut up' in messages[0]['content'] %}{{ raise_exception('how rude') }}{% endif %}" + CHAT_TEMPLATE
NO_SYSTEM = "{% if messages[0]['role'] == 'system' %}{{ raise_exception('no system') }}{% endif %}" + CHAT_TEMPLATE
#: as Mistral's: a system message stands in the last turn, where that is the user's
IN_LAST = (
    "{% for m in messages %}{% if m['role'] == 'assistant' %}<|assistant|> {{ m['content'] }}<|end|>"
    "{% elif m['role'] == 'user' %}<|user|> {% if loop.last and messages[0]['role'] == 'system' %}"
    "{{ messages[0]['content'] + '\n\n' }}{% endif %}{{ m['content'] }}{% endif %}{% endfor %}"
    "{% if add_generation_prompt %}<|assistant|>{% endif %}"
)


@pytest.fixture(scope="module")
def bare(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_model(tmp_path_factory.mktemp("bare") / "base", template=None)


def prompt_ids(engine: Any, messages: tuple[Message, ...]) -> list[int]:
    (ids,) = engine._encoder.encode([GenerationRequest(id="a", prompt=messages)], [1])
    return list(ids)


# --- SFT


@pytest.mark.slow
@pytest.mark.parametrize("setting", [VICUNA, "fastchat:zero_shot", "fastchat:chatglm2", "fastchat:raw", "plain"])
def test_what_is_trained_is_what_generation_sees_and_ends_with_the_end_token(bare: Path, setting: str) -> None:
    tokenizer = load_tokenizer(bare, chat_template=setting)
    engine = open_engine(CPU, bare, chat_template=setting)
    for example in examples(4):
        (turn,) = render_turns(tokenizer, [(example.id, example.prompt, example.completion)])
        assert turn.prompt == prompt_ids(engine, example.prompt)
        text = tokenizer.decode(turn.completion)
        assert text.strip() == example.completion[0].content + "<|end|>"
        assert turn.completion.count(tokenizer.eos_token_id) == 1


@pytest.mark.slow
def test_the_checkpoint_brings_the_template_it_was_trained_with(bare: Path, tiny_model: Path, tmp_path: Path) -> None:
    """Whether its base brought another one or none."""
    for base, name in ((bare, "a"), (tiny_model, "b")):
        made = train_sft(base, examples(8), CONFIG, tmp_path / name, seed=1, chat_template=VICUNA).checkpoint
        m0, m1 = open_engine(CPU, base, chat_template=VICUNA), open_engine(CPU, made)
        for example in examples(3):
            assert prompt_ids(m0, example.prompt) == prompt_ids(m1, example.prompt)
        assert "USER: " in (made / "chat_template.jinja").read_text()


@pytest.mark.slow
def test_a_template_file_is_named_where_it_refuses_a_record(bare: Path, tmp_path: Path) -> None:
    (tmp_path / "mine.jinja").write_text(NO_RUDENESS)
    given = examples(8)
    prompt = (Message(role="user", content="Shut up."),)
    rude = [*given[:3], Example(id="e3", prompt=prompt, completion=given[3].completion)]
    train_sft(bare, given, CONFIG, tmp_path / "a", seed=1, chat_template=str(tmp_path / "mine.jinja"))
    with pytest.raises(DataError, match=r"mine\.jinja: Record 'e3': .* \(user\): how rude"):
        train_sft(bare, rude, CONFIG, tmp_path / "b", seed=1, chat_template=str(tmp_path / "mine.jinja"))
    assert not (tmp_path / "b").exists()


@pytest.mark.parametrize("text", [NO_SYSTEM, IN_LAST], ids=["refuses", "lets go"])
def test_training_sees_a_system_message_where_generation_does(bare: Path, tmp_path: Path, text: str) -> None:
    (tmp_path / "mine.jinja").write_text(text)
    template = str(tmp_path / "mine.jinja")
    prompt = (Message(role="system", content="Be brief."), Message(role="user", content="Name a drum."))
    answer = (Message(role="assistant", content="The drum is here."),)
    tokenizer = load_tokenizer(bare, chat_template=template)
    (turn,) = render_turns(tokenizer, [("e1", prompt, answer)])
    assert "Be brief.\n\nName a drum." in tokenizer.decode(turn.prompt)
    assert turn.prompt == prompt_ids(open_engine(CPU, bare, chat_template=template), prompt)


@pytest.mark.parametrize(
    ("text", "error", "why"),
    [
        ("{{ messages[0]['content'] }}", ConfigError, "second turn of the user"),
        (CHAT_TEMPLATE.replace("<|end|>", "\n### "), TrainingError, r"writes '###' behind an answer.*eos_token"),
    ],
)
def test_a_template_file_that_cannot_be_trained_with_stops_before_training(
    bare: Path, tmp_path: Path, text: str, error: type[Exception], why: str
) -> None:
    (tmp_path / "mine.jinja").write_text(text)
    with pytest.raises(error, match=rf"(?s)mine\.jinja.*{why}"):
        train_sft(bare, examples(8), CONFIG, tmp_path / "a", seed=1, chat_template=str(tmp_path / "mine.jinja"))
    assert not (tmp_path / "a").exists()


# --- a run


class Told(Silent):
    def __init__(self) -> None:
        self.messages: list[str] = []

    def message(self, text: str) -> None:
        self.messages.append(text)


def make_run(folder: Path, base: Path, *settings: str) -> RunDir:
    ift = [{"id": f"i{n}", "prompt": f"Name number {n}.", "completion": f"It is {n}."} for n in range(8)]
    responses = [{"text": "Yes.", "rank": 0, "review": "Score: 5"}, {"text": "No.", "rank": 1, "review": "Score: 1"}]
    eft = [{"id": f"e{n}", "prompt": f"Tell of {n}.", "responses": responses} for n in range(2)]
    for name, lines in (("ift", ift), ("eft", eft)):
        (folder / f"{name}.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    seeds = [f"seeds.{name}={folder / name}.jsonl" for name in ("ift", "eft")]
    small = ["seeds.exclude=null", "seeds.ift_size=null", "sft.epochs=1", "sft.batch_size=8", "seeds.eft_flatten=null"]
    small += ["with_baseline=false", "engine.device=cpu"]
    return RunDir.create(folder / "run", recipes.load("micro", [f"base={base}", *seeds, *small, *settings]))


def evaluated(run: RunDir) -> dict[str, EvalResult]:
    done = leaderboards.evaluate([f"{run.path}:M0", f"{run.path}:M1"], world="micro", benchmarks=["quality"], limit=2)
    assert done.errors == ()
    return {r.checkpoint: r for r in done.results}


@pytest.mark.slow
def test_a_base_without_template_is_trained_and_evaluated(bare: Path, tmp_path: Path) -> None:
    """By the plain template, where the recipe names none; nothing of it is in the keys of results."""
    run, told = make_run(tmp_path, bare), Told()
    run_iteration(run, until="M1", reporter=told)
    assert told.messages == ["M0: messages are rendered by chat_template plain, as it brings no template."]
    assert (run.path / "M1/checkpoint/chat_template.jinja").read_text() == PLAIN_TEMPLATE
    assert "chat_template" not in (run.path / "M1/train.stage.json").read_text()
    found = evaluated(run)
    assert {m: r.chat_template.partition("#")[0] for m, r in found.items()} == {"M0": "plain", "M1": ""}
    assert found["M0"].config_hash == found["M1"].config_hash
    assert found["M0"].comparability == found["M1"].comparability


@pytest.mark.slow
def test_a_named_template_is_in_the_run_the_stages_and_the_keys(bare: Path, tmp_path: Path) -> None:
    run, told = make_run(tmp_path, bare, f"chat_template={VICUNA}"), Told()
    run_iteration(run, until="M1", reporter=told)
    assert told.messages == [f"M0: messages are rendered by chat_template {VICUNA}, as it brings no template."]
    started = json.loads((run.path / "M1/train.start.json").read_text())
    assert started["settings"]["chat_template"].startswith(f"{VICUNA}#")
    found = evaluated(run)
    assert {r.chat_template for r in found.values()} == {started["settings"]["chat_template"]}
    assert found["M0"].config_hash == found["M1"].config_hash

    outside = [
        leaderboards.evaluate(
            [bare],
            config=recipes.load("micro", [f"chat_template={setting}"]),
            benchmarks=["quality"],
            limit=2,
            world="micro",
            output=tmp_path / "outside",
        )
        for setting in (VICUNA, "plain", "fastchat:tulu")
    ]
    hashes = [done.results[0].config_hash for done in outside]
    assert hashes[0] == found["M0"].config_hash
    assert len(set(hashes)) == 3

    file = run.path / "srbench.yaml"
    file.write_text(file.read_text().replace(VICUNA, "plain"))
    with pytest.raises(IncompatibleRunError, match=r"settings\.chat_template: 'fastchat:vicuna_v1\.1#.*' -> 'plain#"):
        run_iteration(RunDir.open(run.path), until="M1")


@pytest.mark.slow
def test_an_edited_template_file_is_another_setting(bare: Path, tmp_path: Path) -> None:
    template = tmp_path / "mine.jinja"
    template.write_text(CHAT_TEMPLATE)
    run = make_run(tmp_path, bare, f"chat_template={template}")
    run_iteration(run, until="M1")
    assert (run.path / "M1/checkpoint/chat_template.jinja").read_text() == CHAT_TEMPLATE
    template.write_text(CHAT_TEMPLATE + "\n")
    with pytest.raises(IncompatibleRunError, match=r"settings\.chat_template: 'mine\.jinja#"):
        run_iteration(run, until="M1")


@pytest.mark.slow
def test_the_base_writes_prompts_by_the_template_of_the_run(
    tiny_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It writes them as M0; what a model of the run that was trained is opened with is nothing but itself."""
    opened: list[tuple[str, str | None]] = []

    def open_engine(config: EngineConfig, source: Path, *, chat_template: str | None, **_: Any) -> Any:
        opened.append((source.parent.name if source.name == "checkpoint" else "M0", chat_template))
        raise TrainingError("enough")

    run, told = make_run(tmp_path, tiny_model, f"chat_template={VICUNA}", "prompts.writer=base"), Told()
    run_iteration(run, until="M1")
    monkeypatch.setattr("trainers.workshop.open_engine", open_engine)
    with pytest.raises(TrainingError, match="enough"):
        run_iteration(run, until="M2", reporter=told)
    assert opened == [("M0", VICUNA)]
    assert told.messages == [
        f"M0: messages are rendered by chat_template {VICUNA}, not by the template that it brings."
    ]
    started = json.loads((run.path / "M2/prompts.start.json").read_text())
    assert started["settings"]["chat_template"].startswith(f"{VICUNA}#")
