"""A tiny random Llama with a small BPE tokenizer, made once per test session."""

from __future__ import annotations

import signal
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from selfreward_bench.types import Example, Message, PreferencePair

from ..forking import Group, end, fork

CHAT_TEMPLATE = (
    "{% for m in messages %}{% if m['role']=='assistant' %}<|assistant|> {{ m['content'] }}<|end|>"
    "{% else %}<|user|> {{ m['content'] }}{% endif %}{% endfor %}{% if add_generation_prompt %}<|assistant|>{% endif %}"
)
NOUNS = ("apple", "bear", "coat", "drum", "engine", "flower", "garden", "hammer")


def make_tokenizer(template: str | dict[str, str] | None = CHAT_TEMPLATE, plain: tuple[str, ...] = ()) -> Any:
    """A small BPE tokenizer: ids 0 to 3 are control tokens, the last ids are added ``plain`` ones."""
    from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers, trainers
    from transformers import PreTrainedTokenizerFast

    bpe = Tokenizer(models.BPE())
    bpe.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    bpe.decoder = decoders.ByteLevel()
    special = ["<|pad|>", "<|end|>", "<|user|>", "<|assistant|>"]
    corpus = [f" Name the {a} and the {b}. The {a} is here." for a in NOUNS for b in NOUNS]
    trainer = trainers.BpeTrainer(
        vocab_size=400,
        special_tokens=special,
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    bpe.train_from_iterator(corpus, trainer)
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=bpe,
        pad_token=special[0],
        eos_token=special[1],
        extra_special_tokens=special[2:],
    )
    tokenizer.add_tokens([AddedToken(text, special=False, normalized=False) for text in plain])
    if template is not None:
        tokenizer.chat_template = template
    return tokenizer


def make_model(
    directory: Path,
    *,
    template: str | dict[str, str] | None = CHAT_TEMPLATE,
    plain: tuple[str, ...] = (),
    architecture: str = "Llama",
    dtype: str = "float32",
    **shape: Any,
) -> Path:
    """Writes a random two-layer model and its tokenizer in Hugging Face layout.

    Args:
        plain: added tokens of the tokenizer that are not special.
        shape: settings of the model's configuration beside those of all.
    """
    import torch
    import transformers

    tokenizer = make_tokenizer(template, plain)
    torch.manual_seed(0)
    settings: dict[str, Any] = {
        "vocab_size": len(tokenizer),
        "hidden_size": 32,
        "intermediate_size": 64,
        "num_hidden_layers": 2,
        "num_attention_heads": 2,
        "max_position_embeddings": 256,
        "tie_word_embeddings": True,
        "pad_token_id": tokenizer.pad_token_id,
        "eos_token_id": tokenizer.eos_token_id,
        "bos_token_id": None,
    }
    config = getattr(transformers, f"{architecture}Config")(**settings | shape)
    model = transformers.AutoModelForCausalLM.from_config(config)
    model.to(getattr(torch, dtype)).save_pretrained(directory)
    tokenizer.save_pretrained(directory)
    return directory


@pytest.fixture(scope="session")
def tiny_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_model(tmp_path_factory.mktemp("tiny") / "model")


@pytest.fixture(scope="session", autouse=True)
def _one_thread() -> None:
    import torch

    torch.set_num_threads(1)


def examples(n: int) -> list[Example]:
    """Prompt and answer pairs of differing length."""
    return [
        Example(
            id=f"e{i}",
            prompt=(Message(role="user", content=f"Name the {NOUNS[i % 8]}." + " Please." * (i % 3)),),
            completion=(Message(role="assistant", content=f"The {NOUNS[i % 8]} is here." + " Yes." * (i % 4)),),
        )
        for i in range(n)
    ]


def pairs(n: int) -> list[PreferencePair]:
    """Preferences for a noun over another."""
    return [
        PreferencePair(
            prompt_id=f"p{i}",
            prompt=(Message(role="user", content=f"Name the {NOUNS[i % 8]}."),),
            chosen=(Message(role="assistant", content=f"The {NOUNS[i % 8]} is here."),),
            rejected=(Message(role="assistant", content=f"The {NOUNS[(i + 1) % 8]} is" + " not" * (i % 3) + " here."),),
            chosen_score=4.0,
            rejected_score=1.0,
            chosen_index=0,
            rejected_index=1,
        )
        for i in range(n)
    ]


def run_until_killed(action: Callable[[], object]) -> None:
    """Runs something in a fork that must die of SIGKILL."""
    process = fork(action)
    process.join()
    assert process.exitcode == -signal.SIGKILL, f"it ended by itself ({process.exitcode})"


def contents(directory: Path) -> dict[str, bytes]:
    """All files below a directory."""
    return {p.relative_to(directory).as_posix(): p.read_bytes() for p in sorted(directory.rglob("*")) if p.is_file()}


class LaunchedHere:
    """Stands in for the program of a launched training: its one worker is this process."""

    def __init__(self, command: list[str], **settings: Any) -> None:
        from trainers import worker

        assert command[-3:-1] == ["-m", "trainers.worker"]
        self._code = worker.main(Path(command[-1]))

    def exit_code(self) -> int:
        return self._code

    def close(self) -> None:
        pass


class LaunchedForks:
    """Stands in for the program of a launched training: its workers are forks of this process."""

    def __init__(self, command: list[str], log: Path, **settings: Any) -> None:
        from trainers import worker

        assert command[-3:-1] == ["-m", "trainers.worker"]
        count = int(command[command.index("--nproc-per-node") + 1])
        self._group = Group(lambda: sys.exit(worker.main(Path(command[-1]))), count, log)

    def exit_code(self) -> int | None:
        return self._group.exit_code()

    def close(self) -> None:
        end(*self._group.processes)


@pytest.fixture
def launched_here(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """What ``torchrun`` would start is done in this process, everything around it as always."""
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    monkeypatch.setattr("trainers.launched.Program", LaunchedHere)


@pytest.fixture(scope="session")
def policy(tiny_model: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The tiny model after a little SFT, so that its probabilities differ."""
    from selfreward_bench.config import SftConfig
    from trainers.sft import train_sft

    config = SftConfig(learning_rate=3e-3, final_learning_rate=1e-3, epochs=3.0, batch_size=8, dropout=0.0)
    return train_sft(tiny_model, examples(32), config, tmp_path_factory.mktemp("policy") / "M1", seed=1).checkpoint
