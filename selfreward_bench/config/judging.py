"""What rewards: the judge and how a served one is asked, and the rewards that stand in its place."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Annotated, Any, Literal

from pydantic import Field, field_validator

from selfreward_bench.config.section import Judge, NotNegative, PositiveInt, Sampling, Section, Spec

_SECRET_HEADER = re.compile(r"auth|key|token|cookie|secret", re.IGNORECASE)
_SECRET_FIELD = re.compile(
    r".*(?:api_?key|password|secret|credential|authorization|bearer).*|(?:(?:access|auth|api|id|session)_?)?token",
    re.IGNORECASE,
)
_VARIABLE = re.compile(r"\$\{[A-Za-z_][A-Za-z0-9_]*\}")
Rewards = Literal["self", "random", "length", "oracle", "reward-model", "implicit", "human", "verifiable"]
JudgeMode = Literal["sampled", "expected", "reasoned"]


def _names(fields: object) -> Iterator[str]:
    """Names of fields, however deep."""
    if isinstance(fields, dict):
        yield from fields
    for value in fields.values() if isinstance(fields, dict) else fields if isinstance(fields, list) else ():
        yield from _names(value)


class JudgeRequest(Section):
    """How a served judge (``openai:NAME@URL``) is asked, where that is not as the benchmark or ``judge`` says."""

    name: Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._+-]{0,99}$")] | None = Field(
        None, description="What results call the judge instead of openai:NAME@URL; an address may then change."
    )
    temperature: NotNegative | None = Field(None, description="Temperature of verdicts in words.")
    max_tokens: PositiveInt | None = Field(
        None, description="Most tokens of a verdict in words; a judge that thinks first needs thousands."
    )
    seed: int | None = Field(None, description="Seed that is sent with each question.")
    extra_body: dict[str, Any] = Field({}, description="More fields of the request, such as {reasoning_effort: low}.")
    extra_headers: dict[str, str] = Field(
        {}, description="More headers; ${VARIABLE} stands for an environment variable, and is stored as such."
    )

    @field_validator("extra_body")
    @classmethod
    def _free_fields(cls, given: dict[str, Any]) -> dict[str, Any]:
        if taken := sorted({"model", "messages", "prompt", "stream", "n", "logprobs", "top_logprobs"} & given.keys()):
            raise ValueError(f"cannot set {', '.join(taken)}, which srbench sets itself")
        if secret := next((name for name in _names(given) if _SECRET_FIELD.fullmatch(name)), None):
            raise ValueError(f"the value of {secret!r} would be stored; give a key as a header: ${{MY_KEY}}")
        return given

    @field_validator("extra_headers")
    @classmethod
    def _no_secrets(cls, given: dict[str, str]) -> dict[str, str]:
        for name, value in given.items():
            if not re.fullmatch(r"[A-Za-z0-9-]{1,100}", name) or not re.fullmatch(r"[ -~]*", value):
                raise ValueError(f"{name[:100]!r} is no header of plain ASCII")
            if _SECRET_HEADER.search(name) and not _VARIABLE.search(value):
                raise ValueError(
                    f"the value of {name!r} would be stored; name an environment variable instead: ${{MY_KEY}}"
                )
        return given

    def __bool__(self) -> bool:
        """Whether anything is set."""
        return self != JudgeRequest()


class JudgeConfig(Section):
    """The LLM-as-a-Judge that rewards (and, in judge accuracy, is measured)."""

    model: Judge = Field(
        "self",
        description="Who rewards: self (the model that answers), base, or another model: RLAIF, and no self-reward.",
    )
    prompt: str = Field("additive-5pt", description="A shipped judge prompt's name or a YAML file (docs/judges.md).")
    mode: JudgeMode = Field(
        "sampled",
        description="sampled (paper), expected grade, or reasoned: the expected grade after a written justification.",
    )
    samples: PositiveInt = Field(3, description="Judgments per response in mode sampled, averaged (paper: 3).")
    min_mass: Annotated[float, Field(ge=0, le=1)] = Field(
        0.05,
        description="Modes expected and reasoned: with less probability on all grades together there is no grade.",
    )
    sampling: Sampling = Field(
        Sampling(temperature=0.7, top_p=0.9, max_new_tokens=256),
        description="How judgments are sampled; mode reasoned takes max_new_tokens alone, expected nothing.",
    )
    request: JudgeRequest = Field(JudgeRequest(), description="How a served judge is asked.")

    def without_request(self) -> dict[str, Any]:
        """What judgments depend on besides the model that judges and how a server is asked."""
        return self.model_dump(exclude={"model", "request"})


class RewardModelConfig(Section):
    """A trained reward model, for ``rewards: reward-model``."""

    name: Spec | None = Field(
        None, description="A sequence classifier with one output: a directory, or OWNER/NAME[@REVISION]; safetensors."
    )
    max_length: PositiveInt = Field(2048, description="Most tokens of a prompt with its answer; longer: no reward.")


class ImplicitConfig(Section):
    """DICE's reward (arXiv 2406.09760), for ``rewards: implicit``."""

    alpha: NotNegative | None = Field(
        None, description="Reward taken off per token; null: as makes chosen and rejected equally long in the mean."
    )


class MetaConfig(Section):
    """Meta-Rewarding (arXiv 2407.19594): preferences between judgments, trained beside those between answers."""

    by: Literal["none", "consensus", "elo"] = Field(
        "none",
        description="Who prefers: none, consensus (the judgment nearest to their mean), elo (the model as meta-judge).",
    )
    min_gap: NotNegative = Field(
        0.5, description="consensus: how much farther from the mean score the rejected judgment is, at least."
    )
    prompt: str = Field("meta-judge", description="elo: a shipped judge prompt of kind pairwise, or a YAML file.")
    max_new_tokens: PositiveInt = Field(256, description="elo: most tokens of the meta-judge's verdict.")
