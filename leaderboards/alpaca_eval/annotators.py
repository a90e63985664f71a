"""AlpacaEval's evaluator configs ("annotators"), read at run time from the installed alpaca_eval (never imported).

An annotator is a prompt, filled with an instruction and two outputs, and a way to read the judge's verdict. The prompt
is split into messages BEFORE it is filled, in one pass: whatever an output contains stays text in its place, and what
reads like a verdict in it is shown so that a judge that quotes it gives none. Verdicts are in ``verdicts``.
"""

from __future__ import annotations

import random
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any, Final

import yaml

from leaderboards.alpaca_eval.package import package_directory
from leaderboards.alpaca_eval.verdicts import (
    AnyVerdict,
    LogprobVerdict,
    PatternVerdict,
    RankingVerdict,
    ScorePairVerdict,
    Verdict,
)
from selfreward_bench.errors import ConfigError, UnknownNameError
from selfreward_bench.judges.fencing import clean, disarmed
from selfreward_bench.storage.files import os_errors
from selfreward_bench.storage.rundir import hash_json
from selfreward_bench.types import Message

__all__ = [
    "Annotator",
    "LogprobVerdict",
    "PatternVerdict",
    "RankingVerdict",
    "ScorePairVerdict",
    "Verdict",
    "annotators",
    "load_annotator",
    "supported_annotators",
    "switched",
]

MAX_SHOWN: Final = 60_000  # characters of one text that a judge is shown; the reference's longest output has 5,000
FALLBACK_TOKENS: Final = 8  # of a verdict in words, where the server gives no log-probabilities
_PLACEHOLDER = re.compile(r"\{(instruction|output_1|output_2)\}")
_START, _END = "<|im_start|>", "<|im_end|>"
_FOREIGN_MARKS = re.compile(r"<\||\bHuman:|\bAssistant:")  # another model's own chat format
_MIN_QUOTED = 20  # characters of a line of the prompt that an answer does not hold by chance


@dataclass(frozen=True, slots=True)
class Annotator:
    """One evaluator config.

    Attributes:
        template: messages with placeholders.
        model: the judge AlpacaEval asks with this config.
        randomized: whether AlpacaEval shows the outputs in a random order.
        config_hash, prompt_hash: of the config and of the prompt's text.
    """

    name: str
    template: tuple[Message, ...]
    verdict: AnyVerdict
    model: str
    randomized: bool
    temperature: float
    max_tokens: int
    config_hash: str
    prompt_hash: str

    @property
    def by_logprobs(self) -> bool:
        """Whether the judge's log-probabilities are asked for, not its words."""
        return isinstance(self.verdict, LogprobVerdict) and not self.verdict.last

    def render(self, instruction: str, first: str, second: str, *, in_words: bool | None = None) -> tuple[Message, ...]:
        """The prompt's messages; texts beyond ``MAX_SHOWN`` characters are cut.

        Args:
            in_words: whether the verdict is read from words; the outputs are then shown with what reads like one
                disarmed. None: unless it is asked for by log-probabilities.
        """
        texts = {"instruction": instruction, "output_1": first, "output_2": second}
        shown = {name: clean(text[:MAX_SHOWN]) for name, text in texts.items()}
        if in_words or (in_words is None and not self.by_logprobs):
            shown |= {name: disarmed(shown[name], self.verdict.disarm) for name in ("output_1", "output_2")}
        return tuple(
            Message(role=m.role, content=_PLACEHOLDER.sub(lambda at: shown[at[1]], m.content)) for m in self.template
        )

    def quoted_in(self, text: str) -> bool:
        """Whether an answer holds a line of this prompt, as one does that was made to deceive the judge."""
        return any(line in text for line in self._lines())

    def _lines(self) -> Iterable[str]:
        lines = (line.strip() for m in self.template for line in m.content.splitlines())
        return (line for line in lines if len(line) >= _MIN_QUOTED and not _PLACEHOLDER.search(line))


def switched(instruction: str) -> bool:
    """Whether AlpacaEval shows the model's output first: a coin seeded with the instruction and its default seed 0."""
    return random.Random(f"is_switched_outputs{instruction}0").choices([False, True], k=1)[0]


# --- the installed package


def annotators(directory: Path | None = None) -> list[str]:
    """Names of all installed evaluator configs, supported or not."""
    folder = directory or package_directory() / "evaluators_configs"
    with os_errors(folder, "read"):
        return sorted(p.name for p in folder.iterdir() if _config_file(p) is not None)


def supported_annotators(directory: Path | None = None) -> list[str]:
    """Names of the evaluator configs that ``load_annotator`` takes."""
    return [name for name in annotators(directory) if isinstance(_load(name, directory), Annotator)]


def load_annotator(name: str, directory: Path | None = None) -> Annotator:
    """The evaluator config of that name.

    Args:
        directory: of the evaluator configs; None takes the installed package's.

    Raises:
        UnknownNameError: there is none.
        ConfigError: it needs what srbench does not do; the message names those that work.
        MissingDependencyError: alpaca_eval is not installed.
    """
    known = annotators(directory)
    if name not in known:
        raise UnknownNameError("annotator (evaluator config of alpaca_eval)", name, known)
    found = _load(name, directory)
    if isinstance(found, str):
        raise ConfigError(f"eval.annotator={name}: {found}. Take one of {', '.join(supported_annotators(directory))}.")
    return found


def _config_file(folder: Path) -> Path | None:
    return next((f for n in ("configs.yaml", "config.yaml") if (f := folder / n).is_file()), None)


@lru_cache(maxsize=256)
def _load(name: str, directory: Path | None) -> Annotator | str:
    """The annotator, or why it cannot be used."""
    folder = directory or package_directory() / "evaluators_configs"
    file = _config_file(folder / name)
    if file is None:
        return "it has no configs.yaml"
    with os_errors(file, "read"):
        content = yaml.safe_load(file.read_text(encoding="utf-8"))
    if not isinstance(content, dict) or len(content) != 1:
        return "it asks several judges in turn"
    config = next(iter(content.values()))
    completion = config.get("completions_kwargs") or {}
    if problem := _problem(config, completion):
        return problem
    prompt_file = folder / str(config["prompt_template"])
    if not prompt_file.resolve().is_relative_to(folder.resolve()):
        return "its prompt lies outside of the evaluator configs"
    with os_errors(prompt_file, "read"):
        prompt = prompt_file.read_text(encoding="utf-8")
    template = _messages(prompt)
    if isinstance(template, str):
        return template
    verdict = _verdict(config)
    if isinstance(verdict, str):
        return verdict
    by_logprobs = isinstance(verdict, LogprobVerdict) and not verdict.last
    return Annotator(
        name=name,
        template=template,
        verdict=verdict,
        model=str(completion.get("model_name", "unknown")),
        randomized=bool(config.get("is_randomize_output_order", True)),
        temperature=0.0 if by_logprobs else float(completion.get("temperature", 0.7)),
        max_tokens=FALLBACK_TOKENS if by_logprobs else _max_tokens(completion),
        config_hash=hash_json(config)[:16],
        prompt_hash=hash_json(prompt)[:16],
    )


def _problem(config: Mapping[str, Any], completion: Mapping[str, Any]) -> str | None:
    if int(config.get("batch_size", 1)) != 1:
        return "it puts several comparisons into one prompt"
    if "tools" in completion or "functions" in completion:
        return "its verdict is a function call"
    return None


def _max_tokens(completion: Mapping[str, Any]) -> int:
    names = ("max_tokens", "max_new_tokens", "max_tokens_to_sample")
    return int(next((completion[n] for n in names if n in completion), 100))


def _verdict(config: Mapping[str, Any]) -> AnyVerdict | str:
    kind = config.get("fn_completion_parser", "regex_parser")
    options = config.get("completion_parser_kwargs") or {}
    if kind == "logprob_parser":
        first, others = options["numerator_token"], set(options["denominator_tokens"])
        if first not in others or len(others) != 2:
            return "it weighs more than two tokens"
        last = options.get("log_prob_index", "batch") == -1
        second = next(iter(others - {first}))
        return LogprobVerdict(first, second, bool(options.get("is_binarize", True)), last)
    if kind == "regex_parser" and set(options.get("outputs_to_match", ())) == {1, 2}:
        return PatternVerdict(*(re.compile(options["outputs_to_match"][k]) for k in (1, 2)))
    if kind == "ranking_parser":
        return RankingVerdict()
    if kind == "lmsys_parser":
        return ScorePairVerdict()
    return f"its parser {kind!r} is not supported"


def _messages(prompt: str) -> tuple[Message, ...] | str:
    """The chat messages of a prompt's text, placeholders left in."""
    if sorted(_PLACEHOLDER.findall(prompt)) != ["instruction", "output_1", "output_2"]:
        return "its prompt does not show one instruction and two outputs"
    if _START not in prompt:
        if _FOREIGN_MARKS.search(prompt):
            return "its prompt is written in one model's own chat format"
        return (Message(role="user", content=prompt.strip()),)
    messages = []
    for part in prompt.strip().split(_START)[1:]:
        role, _, rest = part.partition("\n")
        if (role := role.strip()) not in ("system", "user", "assistant"):
            return f"its prompt has a message of {role!r}"
        messages.append(Message(role=role, content=rest.split(_END, 1)[0].strip()))  # type: ignore[arg-type]  # tested
    return tuple(messages)
