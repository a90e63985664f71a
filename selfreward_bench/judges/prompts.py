"""Judge prompts: YAML files that say how a judge is asked and how its verdict is read (docs/judges.md).

Shipped: ``additive-5pt``, ``five-bucket``, ``micro`` (pointwise) and ``pairwise``. Any other is given by its path.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping, Sequence
from functools import cached_property
from importlib import resources
from importlib.resources.abc import Traversable
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import ConfigDict, Field, ValidationError, model_validator

from selfreward_bench import recipes
from selfreward_bench.config import Section
from selfreward_bench.engines.thinking import split_thinking
from selfreward_bench.errors import ConfigError, UnknownNameError, did_you_mean
from selfreward_bench.judges.fencing import Fence, clean
from selfreward_bench.judges.parsing import BracketParser, Parser, Scale, Verdict, choices_of, disarm, parse
from selfreward_bench.types import Message

__all__ = ["JudgePrompt", "judge_prompt_names", "load_judge_prompt", "render_conversation"]

_PLACEHOLDER = re.compile(r"\{([a-z_]+)\}")
_PLACEHOLDERS = {"pointwise": ("instruction", "response"), "pairwise": ("instruction", "response_a", "response_b")}
_MAX_FILE_BYTES = 1_000_000


class JudgePrompt(Section):
    """One way to ask for a judgment.

    Attributes:
        version: raise it when the numbers change their meaning; it is part of every judge key.
        aspects: names of what is judged, for reports.
        template: the user turn; ``{instruction}`` and ``{response}`` (pairwise: ``{response_a}``, ``{response_b}``) are
            filled in one pass, other braces stay as they are.
        assistant_prefix: what the judge's turn begins with in mode ``expected``, right before the grade.
        scale: in the file ``range: [low, high]`` and ``step``.
    """

    model_config = ConfigDict(strict=True)

    name: Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$")]
    version: Annotated[int, Field(ge=1)]
    kind: Literal["pointwise", "pairwise"]
    aspects: Annotated[tuple[str, ...], Field(strict=False, min_length=1)]
    template: Annotated[str, Field(min_length=1)]
    assistant_prefix: str = ""
    parser: Parser
    scale: Scale
    fence: Fence

    @model_validator(mode="after")
    def _consistent(self) -> JudgePrompt:
        problems = [*self._template_problems(), *self._parser_problems()]
        if problems:
            raise ValueError("; ".join(problems))
        return self

    def _template_problems(self) -> list[str]:
        wanted, found = _PLACEHOLDERS[self.kind], _PLACEHOLDER.findall(self.template)
        problems = [f"template has no {{{name}}}" for name in wanted if name not in found]
        problems += [f"template has {{{name}}} {found.count(name)} times" for name in wanted if found.count(name) > 1]
        problems += [
            f"template has an unknown placeholder {{{name}}}.{did_you_mean(name, wanted)}"
            for name in dict.fromkeys(found)
            if name not in wanted
        ]
        if self.fence.contains_tag(self.template):
            problems.append("template holds a fence tag; the fence is put around the response by itself")
        return problems

    def _parser_problems(self) -> list[str]:
        choices = choices_of(self.parser)
        problems = []
        if self.kind == "pairwise" and not (choices and (self.scale.low, self.scale.high) == (0, 1)):
            problems.append(
                "a pairwise prompt needs parser kind 'choice' (or 'result' with choices) and range [0, 1] (1: response "
                "A wins)"
            )
        problems += [
            f"choice {name!r} scores {score:g}, which is no grade of the range"
            for name, score in (choices or {}).items()
            if self.scale.grade(score) is None
        ]
        return problems

    @cached_property
    def key(self) -> str:
        """``name@version#hash``: equal keys ask and read alike."""
        content = json.dumps(self.model_dump(mode="json"), sort_keys=True).encode()
        return f"{self.name}@{self.version}#{hashlib.sha256(content).hexdigest()[:8]}"

    def render(self, instruction: Sequence[Message], **responses: str) -> tuple[Message, ...]:
        """The judge's chat: one user turn with every inserted text fenced, and no verdict in it that could be quoted.

        Args:
            instruction: the conversation that was answered.
            responses: ``response=`` (pointwise), or ``response_a=`` and ``response_b=``.
        """
        texts = {name: self.fence.wrap(text) for name, text in responses.items()}
        texts["instruction"] = self.fence.inline(render_conversation(instruction))
        anywhere = self.parser.kind in ("bracket", "result")  # others are a line, which no text on a line has
        if self.fence.style == "block" or anywhere:
            texts = {name: disarm(text, self.parser, self.scale) for name, text in texts.items()}
        return (Message(role="user", content=_PLACEHOLDER.sub(lambda match: texts[match[1]], self.template)),)

    def read(self, generated: str, truncated: bool) -> Verdict:
        """The verdict in what the judge generated, thinking aside (:func:`selfreward_bench.judges.parsing.parse`)."""
        return parse(split_thinking(generated).answer, self.parser, self.scale, truncated)

    @property
    def grades(self) -> tuple[float, ...]:
        """All grades that can be given, lowest first."""
        choices = choices_of(self.parser)
        return tuple(sorted(choices.values())) if choices else self.scale.grades

    def verdict(self, score: float) -> str:
        """The shortest text that is read as a grade: the verdict alone, without a justification.

        >>> load_judge_prompt("additive-5pt").verdict(4)
        'Score: 4'
        """
        choices = choices_of(self.parser) or {}
        said = next((name for name, worth in choices.items() if worth == score), f"{score:.10g}")
        if isinstance(self.parser, BracketParser):
            return f"[[{said}]]"
        label = self.parser.label
        return f"[{label}] {said}" if self.parser.kind == "result" else f"{label}: {said}"

    def choices(self) -> tuple[dict[str, float], str]:
        """Mode ``expected``: continuations with their scores, and the text they continue.

        Raises:
            ConfigError: the prompt has no ``assistant_prefix``, or one choice begins with another (1 and 10), so that
                the probability of the shorter would count the longer too.
        """
        if not self.assistant_prefix:
            raise ConfigError(
                f"Judge prompt {self.name!r} has no assistant_prefix, so mode 'expected' does not know where its score "
                "stands. Add for example `assistant_prefix: 'Score:'`, or take mode 'sampled'."
            )
        scores = dict(choices_of(self.parser) or {f"{grade:.10g}": grade for grade in self.scale.grades})
        clash = next(((a, b) for a in scores for b in scores if a != b and b.startswith(a)), None)
        if clash:
            raise ConfigError(
                f"Judge prompt {self.name!r}: the grade {clash[1]} begins with {clash[0]}, so mode 'expected' cannot "
                "tell their probabilities apart. Take a range where no grade begins with another, or mode 'sampled'."
            )
        return scores, self.assistant_prefix


def render_conversation(messages: Sequence[Message]) -> str:
    """The instruction as a judge reads it: a single user turn as it is, several turns each under its speaker.

    >>> render_conversation([Message(role="user", content="Hi."), Message(role="assistant", content="Hello."),
    ...                      Message(role="user", content="Count to 3.")])
    'User: Hi.\\nAssistant: Hello.\\nUser: Count to 3.'
    """
    if len(messages) == 1:
        return messages[0].content
    return "\n".join(f"{message.role.capitalize()}: {message.content}" for message in messages)


def judge_prompt_names() -> tuple[str, ...]:
    """Names of the shipped judge prompts."""
    files = _shipped().iterdir()
    return tuple(sorted(file.name.removesuffix(".yaml") for file in files if file.name.endswith(".yaml")))


def load_judge_prompt(name_or_path: str | Path) -> JudgePrompt:
    """Reads a shipped judge prompt by its name, or any by its path (``./mine.yaml``).

    Raises:
        UnknownNameError: neither a shipped name nor an existing file.
        ConfigError: the file cannot be used; lists every problem with its place.
    """
    name, path = str(name_or_path), Path(name_or_path)
    if name in judge_prompt_names():
        return _build(_shipped().joinpath(f"{name}.yaml").read_text(encoding="utf-8"), f"{name}.yaml")
    if not path.is_file():
        if path.suffix in {".yaml", ".yml"} or len(path.parts) > 1:
            raise ConfigError(f"Judge prompt {name}: no such file. Shipped: {', '.join(judge_prompt_names())}.")
        raise UnknownNameError("judge prompt", name, judge_prompt_names())
    try:
        if path.stat().st_size > _MAX_FILE_BYTES:
            raise ConfigError(f"{path}: larger than {_MAX_FILE_BYTES} bytes; this is no judge prompt.")
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path}: cannot be read as UTF-8 text ({error}).") from error
    return _build(text, str(path))


def _shipped() -> Traversable:
    return resources.files("selfreward_bench").joinpath("data", "judges")


def _build(text: str, source: str) -> JudgePrompt:
    layer = recipes.parse(text, source)
    if layer.problems:
        problems = "\n".join(f"  {problem}" for problem in layer.problems)
        raise ConfigError(f"{source}: {len(layer.problems)} problem(s) in the judge prompt:\n{problems}")
    data = layer.values
    try:
        return JudgePrompt.model_validate(_with_scale(data))
    except ValidationError as error:
        problems = "\n".join(f"  {_problem(details, data)}" for details in error.errors())
        raise ConfigError(f"{source}: {error.error_count()} problem(s) in the judge prompt:\n{problems}") from error


def _with_scale(data: Mapping[str, Any]) -> dict[str, Any]:
    """Moves the file's ``range`` and ``step`` into the field ``scale``."""
    fields = {key: value for key, value in data.items() if key not in {"range", "step"}}
    bounds = data.get("range")
    if isinstance(bounds, list) and len(bounds) == 2:
        fields["scale"] = {"low": bounds[0], "high": bounds[1], **({"step": data["step"]} if "step" in data else {})}
    return fields


def _problem(details: Mapping[str, Any], data: Mapping[str, Any]) -> str:
    """One line: the field's place in the file, what is wrong, what to write."""
    place = [
        str(part)
        for part in details["loc"]
        if part not in {"score-line", "bracket", "choice", "result", "block", "line"}
    ]
    message = str(details["msg"]).removeprefix("Value error, ")
    if place[:1] == ["scale"]:
        place = ["step" if place[-1] == "step" else "range"]
        if details["type"] == "missing":
            given = f"found {clean(repr(data['range']))[:80]}" if "range" in data else "it is missing"
            message = f"give [lowest, highest], two numbers; {given}"
    elif details["type"] == "extra_forbidden":
        message = f"unknown field.{did_you_mean(place[-1], _FIELDS[len(place) > 1])}"
    return f"{'.'.join(place)}: {message}" if place else message


_FIELDS = (
    {*JudgePrompt.model_fields, "range", "step"} - {"scale"},
    {"kind", "label", "choices", "style", "open", "close"},
)
