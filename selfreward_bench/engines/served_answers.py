"""What a server's answer says: a text, a refusal, log-probabilities of the first token, or that it is broken.

Refusals, cut answers and missing log-probabilities are told apart, and none becomes a text or a number.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

from selfreward_bench.engines.base import ChoiceLogprobs, ChoiceRequest, GenerationRequest
from selfreward_bench.engines.served_protocol import Problem, parse_usage
from selfreward_bench.engines.served_secrets import redacted
from selfreward_bench.types import Completion, FinishReason

__all__ = ["NO_LOGPROBS", "RefusedError", "check_logprobs", "check_text", "choice_scores", "completions"]

NO_LOGPROBS: Final = "no_logprobs"
_SURROGATES: Final = re.compile("[\ud800-\udfff]")

Body = Mapping[str, Any]
Count = Callable[[str], int]


class RefusedError(Exception):
    """The model or its provider refuses to answer."""


def _choice(body: Body) -> Body:
    """The first choice, or nothing."""
    choices = body.get("choices")
    return choices[0] if isinstance(choices, list) and choices and isinstance(choices[0], dict) else {}


def _message(choice: Body) -> Body:
    message = choice.get("message")
    return message if isinstance(message, dict) else {}


def _is_refused(choice: Body) -> bool:
    return choice.get("finish_reason") == "content_filter" or bool(_message(choice).get("refusal"))


def _text(choice: Body) -> str | None:
    """The text; empty where the tokens were used up before there was any; None where the answer is broken."""
    text = _message(choice).get("content", choice.get("text"))
    if text is None and choice.get("finish_reason") == "length":
        return ""
    return _SURROGATES.sub("\ufffd", redacted(text)) if isinstance(text, str) else None  # also of an older store


def check_text(body: Body) -> Problem | None:
    choice = _choice(body)
    if not choice:
        return Problem("no choices in the answer", again=True)
    if choice.get("finish_reason") == "error":
        return Problem("the answer broke off with an error", again=True)
    if _text(choice) is None and not _is_refused(choice):
        return Problem("no content in the answer", again=True)
    return None


def check_logprobs(body: Body) -> Problem | None:
    choice = _choice(body)
    if not choice:
        return Problem("no choices in the answer", again=True)
    return None if _is_refused(choice) or _first_token(choice) else Problem(NO_LOGPROBS, again=False)


def _first_token(choice: Body) -> dict[str, float]:
    """Token -> log-probability at the first place; empty where the server gives none."""
    logprobs = choice.get("logprobs")
    if not isinstance(logprobs, dict):
        return {}
    place = next(iter(_list(logprobs.get("content"))), None)
    if isinstance(place, dict):
        pairs = [(t.get("token"), t.get("logprob")) for t in _list(place.get("top_logprobs")) if isinstance(t, dict)]
    else:  # the older interface
        first = next(iter(_list(logprobs.get("top_logprobs"))), None)
        pairs = list(first.items()) if isinstance(first, dict) else []
    return {str(token): min(float(p), 0.0) for token, p in pairs if isinstance(p, int | float) and not math.isnan(p)}


def _list(value: object) -> list[Any]:
    return value if isinstance(value, list) else []


def completions(request: GenerationRequest, bodies: Sequence[Body], count: Count) -> list[Completion]:
    return [_completion(request, sample, body, count) for sample, body in enumerate(bodies)]


def _completion(request: GenerationRequest, sample: int, body: Body, count: Count) -> Completion:
    choice = _choice(body)
    text = _text(choice)
    if text is None or _is_refused(choice):
        raise RefusedError
    finish: FinishReason = "length" if choice.get("finish_reason") == "length" else "stop"
    ends = [at for at in (text.find(stop) for stop in request.stop) if at >= 0]
    if ends:
        text, finish = text[: min(ends)], "stop"
    usage = parse_usage(body)
    return Completion(
        prompt_id=request.id,
        index=sample,
        text=text,
        n_tokens=usage.completion_tokens if usage else count(text),
        finish_reason=finish,
        seed=request.seeds[sample] if sample < len(request.seeds) else 0,
    )


def choice_scores(request: ChoiceRequest, bodies: Sequence[Body], count: Count) -> list[ChoiceLogprobs]:
    choice, usage = _choice(bodies[0]), parse_usage(bodies[0])
    if _is_refused(choice):
        raise RefusedError
    first = _first_token(choice)
    prompt = request.prompt if isinstance(request.prompt, str) else "".join(m.content for m in request.prompt)
    return [
        ChoiceLogprobs(
            id=request.id,
            logprobs=tuple(first.get(c, -math.inf) for c in request.choices),
            n_prompt_tokens=usage.prompt_tokens if usage else count(prompt),
        )
    ]
