"""What a server's answer says: a text, what was thought before it, a refusal, log-probabilities of the first token.

Refusals, cut answers, missing log-probabilities and answers of thinking alone are told apart, and none becomes a text
or a number. Servers put thinking into a field of its own, into parts, or into the text between tags.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final, NamedTuple

from selfreward_bench.engines.base import ChoiceLogprobs, ChoiceRequest, GenerationRequest
from selfreward_bench.engines.served.faults import Problem, clean, parse_usage
from selfreward_bench.engines.served.secrets import redacted
from selfreward_bench.engines.thinking import begins_thinking, split_thinking
from selfreward_bench.types import Completion, FinishReason

__all__ = ["NO_LOGPROBS", "RefusedError", "check_logprobs", "check_text", "choice_scores", "completions"]

NO_LOGPROBS: Final = "no_logprobs"
_SURROGATES: Final = re.compile("[\ud800-\udfff]")
_MOST_MASS: Final = 1.01  # of a distribution, with what rounding adds
_UNLIKELY: Final = -1000.0  # and less is no log-probability: servers write -9999 for what they do not know
_THINKING: Final = ("reasoning_content", "reasoning", "thinking")  # fields of a message, and of its parts
_THINKING_PIECES: Final = ("reasoning_details", "thinking_blocks")

# finish reasons of all dialects, in lower case and without signs
_CUT: Final = re.compile(
    r"length(capped|limit)?|(error|time|(output)?token)?limit(reached)?|modellength|modelcontextwindowexceeded|incomplete"
    r"|max(imum)?(output|new|completion|model|seq(uence)?|context)?(tokens?|len(gth)?|output)(reached|exceeded)?"
)
_FILTERED: Final = re.compile(
    r"contentfilter(ed)?|(image)?safety|recitation|prohibitedcontent|blocklist|spii|refusal|guardrailintervened|sensitive"
    r"|moderation|blocked|filtered|(error)?toxic|modelarmor|(in|out)putguardrailtriggered"
)
_BROKEN: Final = re.compile(r"error|networkerror|insufficientsystemresource|abort(ed)?|(user)?cancel(l?ed)?|timeout")

Body = Mapping[str, Any]
Count = Callable[[str], int]


class RefusedError(Exception):
    """The model or its provider refuses to answer."""


class _Said(NamedTuple):
    """``text`` is None where there is no answer at all."""

    text: str | None
    thinking: str = ""


def _choice(body: Body) -> Body:
    """The first choice, or nothing."""
    choices = body.get("choices")
    return choices[0] if isinstance(choices, list) and choices and isinstance(choices[0], dict) else {}


def _message(choice: Body) -> Body:
    message = choice.get("message")
    return message if isinstance(message, dict) else {}


def _finish(choice: Body) -> str:
    """Why it ended, as the server says, or as its own provider did."""
    reason = choice.get("finish_reason") or choice.get("native_finish_reason")
    plain = str(reason or "").casefold().partition(":")[0]  # "content_filter: PROHIBITED_CONTENT"
    return re.sub(r"[\W_]+", "", plain).removeprefix("finishreason")


def _is_refused(choice: Body) -> bool:
    parts = [part for part in _list(_message(choice).get("content")) if isinstance(part, dict)]
    refusal = _message(choice).get("refusal") or any(part.get("type") == "refusal" for part in parts)
    return _FILTERED.fullmatch(_finish(choice)) is not None or bool(refusal)


def _said(choice: Body) -> _Said:
    """The answer, and what was thought; an empty answer where the tokens were used up before there was any."""
    message = _message(choice)
    content = message.get("content") if message else choice.get("text")
    content = [content] if isinstance(content, dict) else content
    thoughts = [_texts(message.get(name)) for name in _THINKING]
    if not any(thoughts):  # the same again, in pieces, where there is a text as well
        thoughts = [_texts(message.get(name)) for name in _THINKING_PIECES]
    text: str | None = None
    if isinstance(content, str):
        text = content
    elif isinstance(content, list):
        text = "".join(_texts(part) for part in content if _is_answer(part))
        thoughts += [_texts(part) for part in content if not _is_answer(part)]
    if text is not None and message:  # a text completion goes on with its prompt, whatever that is about
        thought, text = split_thinking(text)
        thoughts.append(thought)
    thinking = "\n".join(dict.fromkeys(filter(None, thoughts)))
    if not text and _CUT.fullmatch(_finish(choice)):
        text = ""
    elif not text and thinking:
        text = None
    return _Said(text if text is None else _fit(text), _fit(thinking))


def _fit(text: str) -> str:
    """As it can be written down; also out of a store that another version filled."""
    return _SURROGATES.sub("\ufffd", redacted(text))


def _is_answer(part: object) -> bool:
    return isinstance(part, str) or (isinstance(part, dict) and part.get("type") in ("text", "output_text", None))


def _texts(value: object) -> str:
    """The text of a field or part, however deep."""
    if isinstance(value, str):
        return value
    if isinstance(value, list):
        return "".join(map(_texts, value))
    if isinstance(value, dict):
        return next((found for name in ("text", *_THINKING, "summary") if (found := _texts(value.get(name)))), "")
    return ""


def check_text(body: Body) -> Problem | None:
    choice = _choice(body)
    if not choice:
        return Problem("no choices in the answer (the URL mostly ends in /v1)", again=True)
    if _BROKEN.fullmatch(_finish(choice)):
        return Problem(f"the answer broke off with an error {clean(_broken(choice))}".strip(), again=True)
    if _is_refused(choice):
        return None
    said = _said(choice)
    if said.text is None and said.thinking:
        return Problem("only reasoning came, no answer after it", again=True)
    return Problem("no content in the answer", again=True) if said.text is None else None


def _broken(choice: Body) -> object:
    error = choice.get("error")
    return error.get("message", "") if isinstance(error, dict) else error or ""


def check_logprobs(body: Body) -> Problem | None:
    choice = _choice(body)
    if not choice:
        return Problem("no choices in the answer", again=True)
    return None if _is_refused(choice) or _first_token(choice) else Problem(NO_LOGPROBS, again=False)


def _first_token(choice: Body) -> dict[str, float]:
    """Token -> log-probability at the first place; empty where the server gives none that are a distribution.

    Nor does it where the first token is one of thinking: it is not the verdict's.
    """
    logprobs = choice.get("logprobs")
    if not isinstance(logprobs, dict) or any(_texts(_message(choice).get(name)) for name in _THINKING):
        return {}
    place = next(iter(_list(logprobs.get("content"))), None)
    if isinstance(place, dict):
        pairs = [(t.get("token"), t.get("logprob")) for t in _list(place.get("top_logprobs")) if isinstance(t, dict)]
    else:  # the older interface
        first = next(iter(_list(logprobs.get("top_logprobs"))), None)
        pairs = list(first.items()) if isinstance(first, dict) else []
    found = {str(token): p for token, said in pairs if (p := _number(said)) is not None}
    likeliest = max(found, key=lambda token: found[token], default="")
    mass = sum(math.exp(min(p, 1.0)) for p in found.values())
    if begins_thinking(likeliest) or not 0 < mass <= _MOST_MASS:
        return {}
    return {token: min(p, 0.0) for token, p in found.items()}


def _number(value: object) -> float | None:
    """None of what is no number, and of a whole one that no float holds."""
    try:
        found = float(value) if isinstance(value, int | float) else math.nan
    except OverflowError:
        return None
    return None if math.isnan(found) else found if found > _UNLIKELY else -math.inf


def _list(value: object) -> list[Any]:
    return value if isinstance(value, list) else []


def completions(request: GenerationRequest, bodies: Sequence[Body], count: Count) -> list[Completion]:
    return [_completion(request, sample, body, count) for sample, body in enumerate(bodies)]


def _completion(request: GenerationRequest, sample: int, body: Body, count: Count) -> Completion:
    choice = _choice(body)
    said = _said(choice)
    if said.text is None or _is_refused(choice):
        raise RefusedError
    text, finish = said.text, _finish_reason(choice)
    ends = [at for at in (text.find(stop) for stop in request.stop) if at >= 0]
    if ends:
        text, finish = text[: min(ends)], "stop"
    usage = parse_usage(body)
    return Completion(
        prompt_id=request.id,
        index=sample,
        text=text,
        n_tokens=(usage.completion_tokens if usage else 0) or count(said.thinking + said.text),
        finish_reason=finish,
        seed=request.seeds[sample] if sample < len(request.seeds) else 0,
        thinking=said.thinking,
    )


def _finish_reason(choice: Body) -> FinishReason:
    return "length" if _CUT.fullmatch(_finish(choice)) else "stop"


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
