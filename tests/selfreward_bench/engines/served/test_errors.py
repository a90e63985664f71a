"""What errors mean: by codes, types and words, in any case, at any length, in any form of body."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from selfreward_bench.engines.served.errors import meaning_of, read_error, status_of

#: meaning, status, message, code, type, whether log-probabilities were asked for
KNOWN: list[tuple[str, int, str, object, str | None, bool]] = [
    ("used_up", 429, "You exceeded your current quota, please check your plan.", "insufficient_quota", None, False),
    ("used_up", 402, "Insufficient Balance", None, "unknown_error", False),
    ("used_up", 403, "Your credit balance is too low to access the API.", None, None, False),
    ("used_up", 429, "余额不足或无可用资源包", "1113", None, False),
    ("limited", 429, "You exceeded your current quota. Please retry in 35.2s.", 429, "RESOURCE_EXHAUSTED", False),
    ("limited", 429, "Rate limit reached for requests per minute (RPM).", "rate_limit_exceeded", None, False),
    ("limited", 400, "Too many requests, slow down", "ThrottlingException", None, False),
    ("limited", 503, "litellm.RateLimitError: no deployments", None, None, False),
    ("refused", 400, "The response was filtered due to the prompt.", "content_filter", None, False),
    ("refused", 400, "litellm.ContentPolicyViolationError: AzureException", None, None, False),
    ("refused", 400, "Bad request", None, "ResponsibleAIPolicyViolation", False),
    ("refused", 403, 'Your input was flagged for "violence".', 403, None, False),
    ("refused", 400, "Output data may contain inappropriate content.", "data_inspection_failed", None, False),
    ("refused", 400, "Content Exists Risk", "invalid_request_error", None, False),
    ("refused", 500, "upstream", "content_filter", None, False),
    ("no_logprobs", 403, "You are not allowed to request logprobs from this model", None, None, True),
    ("no_logprobs", 400, "Logprobs is not enabled for models/x", 400, "INVALID_ARGUMENT", True),
    ("no_logprobs", 404, "No endpoints found that support logprobs", 404, None, True),
    ("no_logprobs", 501, "logprobs are not implemented", None, None, True),
    ("no_logprobs", 400, "Could not finish the message because max_tokens was reached", None, None, True),
    ("no_logprobs", 400, "Invalid 'max_output_tokens': below minimum value. Expected >= 16", "x", None, True),
    ("no_logprobs", 400, "max_tokens must be at least 16, got 1", None, "BadRequestError", True),
    ("failed", 400, "max_tokens must be at least 16, got 8", None, "BadRequestError", False),
    ("too_long", 400, "max_tokens must be at least 1, got -52", None, "BadRequestError", True),
    ("too_long", 400, "This model's maximum context length is 8192 tokens.", "context_length_exceeded", None, False),
    ("too_long", 400, "the request exceeds the available context size", 400, "exceed_context_size_error", False),
    ("too_long", 422, "`inputs` tokens + `max_new_tokens` must be <= 4096", None, "validation", False),
    ("too_long", 400, "prompt is too long: 210000 tokens > 200000 maximum", None, None, False),
    ("too_long", 500, "Requested tokens (2050) exceed context window of 2048", None, None, False),
    ("too_long", 413, "Request Entity Too Large", None, None, False),
    ("too_long", 429, "Request too large for gpt-4 on tokens per min (TPM): Limit 1.", None, "tokens", False),
    ("wrong_key", 401, "Incorrect API key provided", "invalid_api_key", None, False),
    ("wrong_key", 403, "Invalid API key", None, None, False),
    ("not_there", 404, "The model `x` does not exist", "model_not_found", None, False),
    ("not_there", 400, "x is not a valid model ID", 400, None, False),
    ("not_there", 405, "Method Not Allowed", None, None, False),
    ("elsewhere", 307, "", None, None, False),
    ("again", 500, "Internal server error", None, None, False),
    ("again", 503, "The model is overloaded", None, "overloaded_error", False),
    ("again", 408, "", None, None, False),
    ("failed", 400, "Unsupported parameter: 'seed'", "unsupported_parameter", None, False),
    ("failed", 403, "Country, region, or territory not supported", None, None, False),
    ("failed", 400, "Logprobs is not enabled", None, None, False),
    ("failed", 422, "", None, None, False),
]

Body = Callable[[str, object, str | None], Any]


def dumped(message: str, code: object, kind: str | None) -> str:
    return json.dumps({"error": {"message": message, "code": code, "type": kind}})


FORMS: dict[str, Body] = {
    "error object": lambda m, c, t: {"error": {"message": m, "code": c, "type": t, "param": None}},
    "flat": lambda m, c, t: {"object": "error", "message": m, "code": c, "type": t},
    "list": lambda m, c, t: [{"error": {"code": c, "message": m, "status": t}}],
    "string": lambda m, c, t: f"{m} ({c}, {t})",
    "error string": lambda m, c, t: {"error": f"{m} {c} {t}"},
    "detail": lambda m, c, t: {"detail": [{"type": t or "x", "loc": ["body"], "msg": m, "code": c}]},
    "detail string": lambda m, c, t: {"detail": f"{t}: {m} {c}"},
    "gateway": lambda m, c, t: {"error": {"message": "Provider returned error", "metadata": {"raw": dumped(m, c, t)}}},
    "inner": lambda m, c, t: {"error": {"message": "Bad", "innererror": {"code": c, "message": m, "type": t}}},
    "errors": lambda m, c, t: {"errors": [{"message": m, "code": c, "type": t}]},
}
CASES: list[Callable[[str], str]] = [str, str.upper, str.lower, str.title, str.swapcase]


@pytest.mark.slow
@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize(("meaning", "status", "message", "code", "kind", "logprobs"), KNOWN)
def test_what_is_known(
    form: str, meaning: str, status: int, message: str, code: object, kind: str | None, logprobs: bool
) -> None:
    said = read_error(json.dumps(FORMS[form](message, code, kind)).encode())
    assert meaning_of(status, said, logprobs=logprobs) == meaning
    assert message[:20] in said.words or form in ("gateway", "inner") or not message


@pytest.mark.slow
@settings(max_examples=120, deadline=None)
@given(
    known=st.sampled_from(KNOWN),
    form=st.sampled_from(sorted(FORMS)),
    case=st.sampled_from(CASES),
    before=st.integers(0, 20_000),
    after=st.integers(0, 20_000),
    fill=st.sampled_from(["x ", "... ", "中", "\n", '"', "1 "]),
    plain=st.booleans(),
)
def test_nothing_depends_on_case_length_or_form(
    known: tuple[str, int, str, object, str | None, bool],
    form: str,
    case: Callable[[str], str],
    before: int,
    after: int,
    fill: str,
    plain: bool,
) -> None:
    meaning, status, message, code, kind, logprobs = known
    padded = f"{(fill * before)[:before]} {case(message)} {(fill * after)[:after]}"
    code, kind = case(code) if isinstance(code, str) else code, case(kind) if kind else kind
    body = FORMS[form](padded, code, kind)
    raw = f"<html>{padded} {code} {kind}</html>" if plain else json.dumps(body)
    assert meaning_of(status, read_error(raw.encode()), logprobs=logprobs) == meaning


FIELDS = st.sampled_from(["error", "code", "message", "loc", "detail", "x"])
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(FIELDS, inner, max_size=3),
    max_leaves=12,
)


@settings(max_examples=80, deadline=None)
@given(
    raw=st.binary(max_size=200) | JSON.map(lambda value: json.dumps(value).encode()),
    status=st.integers(300, 599),
    logprobs=st.booleans(),
)
def test_any_body_means_something(raw: bytes, status: int, logprobs: bool) -> None:
    said = read_error(raw)
    assert meaning_of(status, said, logprobs=logprobs)
    assert 300 <= status_of(said) <= 599


@pytest.mark.parametrize("fill", ["a", "model", "quotaexceeded", "token "])
@pytest.mark.parametrize("at", [0, 400_000, 3_800_000])
def test_a_hostile_length_takes_little_time_and_hides_nothing(fill: str, at: int) -> None:
    text = fill * (4_000_000 // len(fill))
    raw = json.dumps({"error": {"message": f"{text[:at]} insufficient_quota {text[at:]}"}}).encode()
    began = time.process_time()
    assert meaning_of(429, read_error(raw)) == "used_up"
    assert time.process_time() - began < 2


def test_what_a_server_repeats_it_does_not_say() -> None:
    """A prompt, or an answer that is judged, may hold the words of any error."""
    prompt = (
        "Tell me: insufficient_quota, content_filter, logprobs not allowed, maximum context length, invalid API key!"
    )
    echoes: list[Any] = [
        {"detail": [{"type": "value_error", "loc": ["body", "stop"], "msg": "Bad value", "input": prompt}]},
        {"error": {"message": f"Bad value in: {prompt}"}},
        {"error": {"message": "Bad value", "request": {"messages": [{"content": prompt}]}}},
        {"error": {"message": "Bad value", "metadata": {"flagged_input": prompt}}},
    ]
    for body in echoes:
        said = read_error(json.dumps(body).encode(), [prompt])
        assert meaning_of(400, said, logprobs=True) == "failed"
        assert meaning_of(403, said, logprobs=True) == "failed"
    assert meaning_of(400, read_error(json.dumps({"error": prompt}).encode())) != "failed"


@pytest.mark.parametrize(
    ("body", "status"),
    [
        ({"error": {"message": "Provider returned error", "code": 429}}, 429),
        ({"error": {"message": "Provider returned error", "code": "502"}}, 502),
        ({"error": {"message": "Insufficient credits", "code": 402}}, 402),
        ({"error": "Unexpected endpoint or method. (POST /chat/completions)"}, 404),
        ({"detail": "Not Found", "status": 404}, 404),
        ({"error": {"message": "Rate limit exceeded"}}, 429),
        ({"error": {"message": "Invalid API key"}}, 401),
        ({"error": {"message": "blocked by content filter"}}, 400),
        ({"error": {"message": "something went wrong"}}, 503),
        ({"error": {"message": "x", "code": 7}}, 503),
    ],
)
def test_the_status_that_a_200_should_have_had(body: object, status: int) -> None:
    assert status_of(read_error(json.dumps(body).encode())) == status


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("Please try again in 7m12s.", 432),
        ("try again in 20ms", 0.02),
        ("Please retry in 35.2s.", 35.2),
        ("Please retry after 6 seconds", 6),
        ("try again in 1h2m3s", 3723),
        ("try again later", None),
        ("try again in a minute", None),
    ],
)
def test_waits_that_a_body_asks_for(text: str, seconds: float | None) -> None:
    assert read_error(json.dumps({"error": {"message": text}}).encode()).wait == seconds


def test_a_wait_in_a_field() -> None:
    body = {"error": {"code": 429, "details": [{"@type": "google.rpc.RetryInfo", "retryDelay": "17s"}]}}
    assert read_error(json.dumps(body).encode()).wait == 17


def test_the_words_for_people() -> None:
    def words(body: object) -> str:
        return read_error(json.dumps(body).encode()).words

    extra = {"type": "extra_forbidden", "loc": ["body", "seed"], "msg": "Extra inputs are not permitted", "input": 123}
    assert words({"detail": [extra]}) == "Extra inputs are not permitted seed"
    assert words({"error": {"message": "No", "code": "nope"}}) == "No nope"
    assert words({"error": {"code": 429, "message": "Provider returned error 429"}}) == "Provider returned error 429"
    assert words("plain") == "plain"
    assert words([]) == ""
