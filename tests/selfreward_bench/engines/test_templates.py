"""What the setting ``chat_template`` does to a tokenizer and an engine, and what it refuses."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from selfreward_bench.config import EngineConfig, RunConfig
from selfreward_bench.engines import open_engine
from selfreward_bench.engines.base import GenerationRequest
from selfreward_bench.engines.chat import PromptEncoder
from selfreward_bench.engines.lazy import LazyEngine
from selfreward_bench.engines.templates import (
    PLAIN_TEMPLATE,
    Chosen,
    brings_template,
    check_template,
    give_template,
    of_run,
)
from selfreward_bench.errors import ConfigError, EngineError, UnknownNameError
from selfreward_bench.types import Message

from .conftest import make_tokenizer

CPU = EngineConfig(device="cpu")
USER = [{"role": "user", "content": "Hi."}]
TALK = [*USER, {"role": "assistant", "content": "Hello."}, {"role": "user", "content": "Bye."}]

ALL = (
    "{% for m in messages %}<|{{ m.role }}|>{{ m.content }}<|end|>{% endfor %}"
    "{% if add_generation_prompt %}<|assistant|>{% endif %}"
)
NO_SYSTEM = "{% if messages[0].role == 'system' %}{{ raise_exception('no system role') }}{% endif %}" + ALL


@pytest.fixture
def tokenizer() -> Any:
    """Not the session's: its template is changed. It puts ``<s>`` before a text and ends with ``<|end|>``."""
    return make_tokenizer()


@pytest.fixture
def bare(tiny_dir: Path, tmp_path: Path) -> Path:
    """A model that brings no template."""
    shutil.copytree(tiny_dir, tmp_path / "bare")
    (tmp_path / "bare/chat_template.jinja").unlink()
    return tmp_path / "bare"


def file(folder: Path, text: str) -> str:
    (folder / "mine.jinja").write_text(text, encoding="utf-8")
    return str(folder / "mine.jinja")


def rendered(tokenizer: Any, messages: list[dict[str, str]]) -> str:
    waits = messages[-1]["role"] == "user"
    return str(tokenizer.apply_chat_template(messages, tokenize=False, add_generation_prompt=waits))


# --- a tokenizer


def test_the_setting_wins_over_the_tokenizers_own(tokenizer: Any) -> None:
    own = rendered(tokenizer, USER)
    give_template(tokenizer, "plain")
    assert rendered(tokenizer, USER) == "<s>### user:\nHi.\n### assistant:\n" != own
    give_template(tokenizer, "fastchat:tulu")
    assert rendered(tokenizer, USER) == "<s><|user|>\nHi.\n<|assistant|>\n"


def test_an_answer_ends_with_the_templates_token_or_the_tokenizers(tokenizer: Any) -> None:
    """Plain text between turns is no part of an answer that is trained; within a conversation it stays."""
    for name, last, within in (
        ("starchat", "Hello.<|end|>", "Hello.<|end|>\n"),  # its token, without the line end
        ("vicuna_v1.1", "Hello.<|end|>", "Hello.</s>"),  # </s> is text to this tokenizer
        ("zero_shot", "Hello.<|end|>", "Hello.\n### "),
        ("tulu", "Hello.<|end|>", "Hello.\n"),
    ):
        give_template(tokenizer, f"fastchat:{name}")
        assert rendered(tokenizer, TALK[:2]).endswith(last)
        assert within in rendered(tokenizer, TALK)


def test_what_ends_an_answer(tokenizer: Any, tmp_path: Path) -> None:
    end = tokenizer.convert_tokens_to_ids("<|end|>")

    def ends(setting: str) -> tuple[set[int], tuple[str, ...]]:
        found = give_template(tokenizer, setting)
        return set(found.ids), found.texts

    assert ends("fastchat:starchat") == ({end, 0}, ())  # stop ids 0 and 49155: the second is no token here
    assert ends("fastchat:zero_shot") == (set(), ("###",))
    assert ends("fastchat:vicuna_v1.1") == (set(), ("</s>",))
    assert ends("fastchat:falcon") == ({0, 1, 2, 3, 4}, ("\nUser",))  # ids 0 to 11, of which five are control tokens
    assert ends("fastchat:tulu") == (set(), ())
    assert ends("fastchat:aquila-chat") == (set(), ("###", "</s>", "[UNK]"))
    assert ends("plain") == ({end}, ())
    assert ends(file(tmp_path, ALL.replace("<|end|>", " STOP "))) == (set(), ("STOP",))


def test_a_template_that_writes_the_start_token_itself_writes_it_once(tokenizer: Any) -> None:
    give_template(tokenizer, "fastchat:llama2-chinese")
    assert rendered(tokenizer, USER).count("<s>") == 1
    give_template(tokenizer, "fastchat:llama-2")
    assert rendered(tokenizer, USER).count("<s>") == 1


# --- a file


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("{{ messages[0].content", r"cannot render a user's turn: TemplateSyntaxError"),
        ("{{ raise_exception('not today') }}", r"cannot render a user's turn: .*not today"),
        ("{{ nothing.at.all }}", r"cannot render a user's turn: UndefinedError"),
        ("<|user|>", r"rendering a user's turn, it leaves out the text of the user"),
        ("{{ messages[-1].content }}", r"rendering a second turn of the user, it leaves out the text of the user"),
        (
            "{% if messages|length > 1 %}{{ raise_exception('one turn only') }}{% endif %}{{ messages[0].content }}",
            r"cannot render a second turn of the user: .*one turn only",
        ),
        (
            "{% for m in messages if m.role != 'system' %}{{ m.content }}{% endfor %}",
            r"rendering a system message \(it may refuse one.*leaves out the text of the system",
        ),
        ("{% for m in messages if m.role == 'user' %}{{ m.content }}{% endfor %}", "leaves out the text of the assist"),
    ],
)
def test_a_file_that_cannot_render_what_is_sent_is_refused_by_its_name(
    tokenizer: Any, tmp_path: Path, text: str, why: str
) -> None:
    with pytest.raises(ConfigError, match=rf"(?s)^chat_template {tmp_path}/mine\.jinja: .*{why}"):
        give_template(tokenizer, file(tmp_path, text))


FORGETFUL = ALL.replace("for m in messages", "for m in messages if m.role != 'system'")
#: as Mistral's: with the last turn, which is no more the user's once it is answered
IN_LAST = FORGETFUL.replace(
    "{{ m.content }}",
    "{% if loop.last and m.role == 'user' and messages[0].role == 'system' %}{{ messages[0].content }} {% endif %}"
    "{{ m.content }}",
)


@pytest.mark.parametrize("template", [NO_SYSTEM, FORGETFUL, IN_LAST], ids=["refuses", "forgets", "lets go"])
def test_where_a_template_has_no_system_role_its_text_goes_into_the_users_turn(tokenizer: Any, template: str) -> None:
    encoder = PromptEncoder(tokenizer, name="m", context=None)
    tokenizer.chat_template = template
    user, system = Message(role="user", content="cat"), Message(role="system", content="Be brief.")
    alone = encoder.render(GenerationRequest(id="a", prompt=(user,)))[0]
    assert encoder.changes == {}
    both = encoder.render(GenerationRequest(id="b", prompt=(system, user)))[0]
    assert both == alone.replace("cat", "Be brief.\n\ncat")
    assert encoder.changes == {"system text in the user's turn": 1}


def test_a_system_message_stays_where_the_template_has_a_role_for_it(tokenizer: Any) -> None:
    encoder = PromptEncoder(tokenizer, name="m", context=None)
    tokenizer.chat_template = ALL
    system = Message(role="system", content="Be brief.")
    text = encoder.render(GenerationRequest(id="b", prompt=(system, Message(role="user", content="cat"))))[0]
    assert text == encoder.tokenizer.apply_chat_template(
        [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "cat"}],
        tokenize=False,
        add_generation_prompt=True,
    )
    assert encoder.changes == {}


def test_what_an_engine_rendered_otherwise_is_told(bare: Path, tmp_path: Path) -> None:
    template = file(tmp_path, NO_SYSTEM)
    engine = LazyEngine(lambda: open_engine(CPU, bare, chat_template=template))
    assert engine.changes == {}
    prompt = (Message(role="system", content="x"), Message(role="user", content="cat"))
    assert list(engine.generate([GenerationRequest(id="b", prompt=prompt, max_new_tokens=1)]))
    assert list(engine.changes) == ["system text in the user's turn"]


@pytest.mark.parametrize(
    ("content", "why"), [(None, "There is no template file"), (b" \n", "empty"), (b"\xff\xfe", "not valid UTF-8")]
)
def test_what_is_no_file_of_a_template(tmp_path: Path, content: bytes | None, why: str) -> None:
    path = tmp_path / "x.jinja"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(ConfigError, match=why):
        check_template(str(path))
    path.write_bytes(b"{{ 1 }}" + b" " * 2**20)
    with pytest.raises(ConfigError, match="larger than 1,048,576 bytes"):
        check_template(str(path))


def test_a_name_without_its_prefix_is_no_file(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"Did you mean 'fastchat:vicuna_v1\.1'\?"):
        check_template(str(tmp_path / "vicuna_v1.1"))
    with pytest.raises(UnknownNameError, match="Unknown fastchat template 'vicuna'"):
        check_template("fastchat:vicuna")
    check_template("plain")


# --- which one


def test_keys_tell_templates_apart_by_their_content(tmp_path: Path) -> None:
    (tmp_path / "other").mkdir()
    settings = [file(tmp_path, ALL), file(tmp_path / "other", ALL), "plain", "fastchat:vicuna_v1.1", "fastchat:tulu"]
    contents = [Chosen(s).content for s in settings]
    assert contents[0] == contents[1]
    assert len(set(contents)) == 4
    (tmp_path / "other/mine.jinja").write_text(ALL + " ")
    assert Chosen(settings[1]).content != contents[0]
    assert Chosen("fastchat:tulu").key == f"fastchat:tulu#{contents[4][:12]}"
    assert Chosen(settings[0]).key.startswith("mine.jinja#")


@pytest.mark.parametrize(
    "template",
    [None, ALL, {"default": ALL, "tool_use": "x"}, {"tool_use": ALL}],
    ids=["none", "one", "several", "no-default"],
)
@pytest.mark.parametrize("as_files", [True, False])
def test_whether_a_model_brings_one_is_what_transformers_finds(
    tokenizer: Any, tmp_path: Path, template: Any, as_files: bool
) -> None:
    from transformers import AutoTokenizer

    tokenizer.chat_template = template
    tokenizer.save_pretrained(tmp_path / "m", save_jinja_files=as_files)
    found = AutoTokenizer.from_pretrained(tmp_path / "m").chat_template
    assert brings_template(tmp_path / "m") == bool(found) == bool(template)
    (tmp_path / "m/tokenizer_config.json").write_text("[" * 100_000)
    (tmp_path / "m/chat_template.jinja").unlink(missing_ok=True)
    shutil.rmtree(tmp_path / "m/additional_chat_templates", ignore_errors=True)
    assert not brings_template(tmp_path / "m")


def test_of_a_run_only_the_base_is_given_a_template(tiny_dir: Path, bare: Path) -> None:
    named = RunConfig(chat_template="fastchat:tulu")
    assert of_run(RunConfig(), "M0", tiny_dir) is None
    assert of_run(RunConfig(), "M1", bare) is None
    stands_in = of_run(RunConfig(), "M0", bare)
    assert stands_in == Chosen("plain", named=False)
    assert stands_in.told("M0") == "M0: messages are rendered by chat_template plain, as it brings no template."
    wins = of_run(named, "M0", tiny_dir)
    assert wins == Chosen("fastchat:tulu", replaces=True)
    assert wins.told("M0").endswith("by chat_template fastchat:tulu, not by the template that it brings.")
    trained = of_run(named, "M1", tiny_dir)
    assert (trained.given, trained.told("M1"), trained.key) == (None, "", wins.key)  # type: ignore[union-attr]


# --- an engine


def test_a_model_without_template_answers_with_the_one_it_is_given(bare: Path) -> None:
    request = GenerationRequest(id="a", prompt=(Message(role="user", content="cat"),), max_new_tokens=4)
    with pytest.raises(EngineError, match=r"has no chat template. Name one \(--set chat_template=plain, fastchat:NAME"):
        open_engine(CPU, bare).generate([request])
    engine = open_engine(CPU, bare, chat_template="fastchat:vicuna_v1.1")
    text, is_chat = engine._encoder.render(request)  # type: ignore[attr-defined]
    assert is_chat
    assert text.startswith("<s>A chat between a curious user")
    assert text.endswith("to the user's questions. USER: cat ASSISTANT:")
    assert list(engine.generate([request]))


def test_an_answer_to_messages_ends_at_the_templates_texts(engine: Any, engine_of: Callable[..., Any]) -> None:
    """A text that is continued does not."""
    model = engine._runner.model
    chat = GenerationRequest(id="a", prompt=(Message(role="user", content="cat"),), temperature=0, max_new_tokens=12)
    text = GenerationRequest(id="b", prompt="cat", temperature=0, max_new_tokens=12)
    whole, continued = (next(iter(engine.generate([r])))[0].text for r in (chat, text))
    stop = whole[5:7]
    stopping = engine_of(model, stop=(stop,))
    (found,) = next(iter(stopping.generate([chat])))
    assert found.text == whole[: whole.index(stop)]
    assert found.finish_reason == "stop"
    also = GenerationRequest(**{**{f: getattr(chat, f) for f in chat.__slots__}, "stop": (whole[2:4],)})
    assert next(iter(stopping.generate([also])))[0].text == whole[: whole.index(whole[2:4])]
    stopping = engine_of(model, stop=(continued[2:4],))
    assert next(iter(stopping.generate([text])))[0].text == continued


def test_a_templates_end_token_beyond_the_model_is_left_out(bare: Path) -> None:
    """A tokenizer may know more tokens than the model has."""
    settings = json.loads((bare / "tokenizer.json").read_text())
    settings["added_tokens"].append({**settings["added_tokens"][-1], "id": 999, "content": "<|im_end|>"})
    (bare / "tokenizer.json").write_text(json.dumps(settings))
    engine = open_engine(CPU, bare, chat_template="fastchat:orca-2")
    assert max(engine.loaded.eos) < 330  # type: ignore[attr-defined]


def test_engines_that_render_nothing_take_no_template(tmp_path: Path) -> None:
    (tmp_path / "script.json").write_text('{"texts": {"*": "Yes."}}')
    engine = open_engine(EngineConfig(kind="scripted"), tmp_path / "script.json", chat_template="plain")
    assert next(iter(engine.generate([GenerationRequest(id="a", prompt="x")])))[0].text == "Yes."


def test_plain_is_what_it_was() -> None:
    """Checkpoints of earlier runs were trained with it."""
    tokenizer = make_tokenizer()
    tokenizer.chat_template = PLAIN_TEMPLATE
    assert rendered(tokenizer, TALK) == (
        "<s>### user:\nHi.\n### assistant:\nHello.<|end|>\n### user:\nBye.\n### assistant:\n"
    )
