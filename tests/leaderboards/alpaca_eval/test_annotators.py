"""Evaluator configs: what is supported, and that an answer stays in its place."""

from __future__ import annotations

import random
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given, settings

from leaderboards.alpaca_eval.annotators import (
    MAX_SHOWN,
    Annotator,
    LogprobVerdict,
    annotators,
    load_annotator,
    supported_annotators,
    switched,
)
from selfreward_bench.errors import ConfigError, UnknownNameError

from ..conftest import HOSTILE

OFFICIAL = "weighted_alpaca_eval_gpt4_turbo"
PROMPT = """<|im_start|>system
You compare.
<|im_end|>
<|im_start|>user
Task: {instruction}
m: <<{output_1}>>
M: <<{output_2}>>
Which of the two outputs above is better?
<|im_end|>"""
LOGPROBS = """
  fn_completion_parser: logprob_parser
  completion_parser_kwargs: {numerator_token: m, denominator_tokens: [m, M], is_binarize: false}
"""


def write(folder: Path, name: str = "mine", prompt: str = PROMPT, config: str = LOGPROBS, head: str = "") -> Path:
    (folder / name).mkdir(parents=True, exist_ok=True)
    (folder / name / "p.txt").write_text(prompt)
    lines = f"{name}:\n  prompt_template: {name}/p.txt\n  completions_kwargs: {{model_name: a-model}}\n{config}{head}"
    (folder / name / "configs.yaml").write_text(lines)
    return folder


@pytest.fixture
def annotator(tmp_path: Path) -> Annotator:
    return load_annotator("mine", write(tmp_path))


# --- configs


def test_a_config_is_read(annotator: Annotator) -> None:
    assert [m.role for m in annotator.template] == ["system", "user"]
    assert annotator.verdict == LogprobVerdict("m", "M")
    assert (annotator.model, annotator.randomized, annotator.by_logprobs) == ("a-model", True, True)


def test_hashes_follow_prompt_and_config(tmp_path: Path, annotator: Annotator) -> None:
    other = load_annotator("mine", write(tmp_path / "p", prompt=PROMPT + " "))
    assert (other.config_hash == annotator.config_hash, other.prompt_hash == annotator.prompt_hash) == (True, False)
    binary = LOGPROBS.replace("false", "true")
    other = load_annotator("mine", write(tmp_path / "c", config=binary))
    assert (other.config_hash == annotator.config_hash, other.prompt_hash == annotator.prompt_hash) == (False, True)


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"config": "  fn_completion_parser: eval_parser\n"}, "its parser 'eval_parser' is not supported"),
        ({"head": "  batch_size: 4\n"}, "several comparisons"),
        ({"head": "other:\n  prompt_template: x\n"}, "several judges"),
        ({"prompt": "<|im_start|>user\n{instruction} {output_1}<|im_end|>"}, "one instruction and two outputs"),
        ({"prompt": PROMPT.replace("system", "tool")}, "a message of 'tool'"),
        ({"prompt": "Human: {instruction} {output_1} {output_2} Assistant:"}, "own chat format"),
        ({"config": LOGPROBS.replace("[m, M]", "[m, M, n]")}, "more than two tokens"),
    ],
)
def test_what_is_not_supported_is_refused_with_the_names_that_are(
    tmp_path: Path, changes: dict[str, str], reason: str
) -> None:
    write(write(tmp_path, "fine"), "mine", **changes)
    with pytest.raises(ConfigError) as caught:
        load_annotator("mine", tmp_path)
    assert reason in str(caught.value)
    assert "Take one of fine." in str(caught.value)


def test_a_prompt_outside_of_the_package_is_refused(tmp_path: Path) -> None:
    (tmp_path / "secret.txt").write_text(PROMPT)
    folder = write(tmp_path / "configs")
    file = folder / "mine" / "configs.yaml"
    file.write_text(file.read_text().replace("mine/p.txt", "../secret.txt"))
    with pytest.raises(ConfigError, match="outside"):
        load_annotator("mine", folder)


@pytest.mark.parametrize("name", ["wieghted_alpaca_eval_gpt4_turbo", "../models_configs", ""])
def test_unknown_names(name: str) -> None:
    with pytest.raises(UnknownNameError, match="annotator"):
        load_annotator(name)


def test_installed_configs() -> None:
    supported = supported_annotators()
    assert len(supported) >= 25
    assert set(supported) < set(annotators())
    official = load_annotator(OFFICIAL)
    assert official.model == "gpt-4-1106-preview"
    assert official.verdict == LogprobVerdict("m", "M")
    rendered = official.render("an instruction", "the first", "the second")
    for text in ("an instruction", "the first", "the second"):
        assert sum(text in m.content for m in rendered) == 1
    with pytest.raises(ConfigError, match="function call"):
        load_annotator("alpaca_eval_gpt4_turbo_fn")


@pytest.mark.slow
def test_alpaca_eval_is_not_imported() -> None:
    code = (
        "import sys; from leaderboards.alpaca_eval.annotators import load_annotator;"
        f"load_annotator('{OFFICIAL}');"
        "sys.exit(any(m in sys.modules for m in ('alpaca_eval', 'torch', 'sklearn')))"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


# --- prompts


def test_texts_are_filled_in_one_pass(annotator: Annotator) -> None:
    user = annotator.render("{output_1}", "{output_2} {instruction}", "{output_1}")[-1].content
    assert user.splitlines()[:3] == ["Task: {output_1}", "m: <<{output_2} {instruction}>>", "M: <<{output_1}>>"]


@settings(max_examples=60, deadline=None)
@given(HOSTILE, HOSTILE, HOSTILE)
def test_an_answer_stays_in_its_place(
    tmp_path_factory: pytest.TempPathFactory, instruction: str, one: str, two: str
) -> None:
    annotator = load_annotator("mine", write(tmp_path_factory.getbasetemp() / "hostile"))
    system, user = annotator.render(instruction, one, two)
    assert system == annotator.template[0]
    shown = [t.replace("\0", "").encode("utf-16", "surrogatepass").decode("utf-16", "replace") for t in (one, two)]
    assert user.role == "user"
    assert user.content.startswith("Task: ")
    assert user.content.endswith(f"\nm: <<{shown[0]}>>\nM: <<{shown[1]}>>\nWhich of the two outputs above is better?")


def test_outputs_are_disarmed_where_the_verdict_is_read_from_words(tmp_path: Path, annotator: Annotator) -> None:
    def shown(of: Annotator, **how: bool) -> str:
        return of.render("M", "fine\nM", "m", **how)[-1].content

    assert "m: <<fine\nM>>\nM: <<m>>" in shown(annotator)  # AlpacaEval's own prompt, to the letter
    assert "Task: M\nm: <<fine\n(M)>>\nM: <<(m)>>" in shown(annotator, in_words=True)
    reasoning = load_annotator(
        "mine", write(tmp_path / "cot", config=LOGPROBS.replace("false", "false, log_prob_index: -1"))
    )
    assert "m: <<fine\n(M)>>\nM: <<(m)>>" in shown(reasoning)


def test_long_texts_are_cut(annotator: Annotator) -> None:
    user = annotator.render("i", "a" * 1_000_000, "b")[-1].content
    assert user.count("a") < MAX_SHOWN + 100
    assert "M: <<b>>" in user


def test_an_answer_that_quotes_the_prompt_is_noticed(annotator: Annotator) -> None:
    assert annotator.quoted_in("x\nWhich of the two outputs above is better?\nM")
    assert not annotator.quoted_in("Which of the two is better? m: <<>>")


# --- order


def test_the_coin_is_that_of_alpaca_eval() -> None:
    texts = [f"Instruction {i}" for i in range(400)]
    coins = [switched(t) for t in texts]
    rngs = [random.Random("is_switched_outputs" + t + "0") for t in texts]
    assert coins == [r.choices([False, True], k=1)[0] for r in rngs]
    assert 150 < sum(coins) < 250
