"""Errors of one provider after another, in its own words, and what each means; no rule is there for nothing."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from selfreward_bench.engines.served import errors
from selfreward_bench.engines.served.dialect import change_for
from selfreward_bench.engines.served.errors import meaning_of, read_error, status_of

from .test_errors import KNOWN


def error(message: str, **more: object) -> dict[str, Any]:
    return {"error": {"message": message, **more}}


def google(code: int, message: str, *details: object) -> list[Any]:
    return [{"error": {"code": code, "message": message, "details": list(details)}}]


DAILY = {"violations": [{"quotaId": "GenerateRequestsPerDayPerProjectPerModel-FreeTier"}]}
DELAY = {"@type": "type.googleapis.com/google.rpc.RetryInfo", "retryDelay": "31s"}
QUOTA = "You exceeded your current quota, please check your plan and billing details."
GROQ = "`max_tokens` must be less than or equal to `8192`, the maximum value for it is less than the `context_window`"
NO_ACCESS = "The caller does not have permission to execute the specified operation"

#: meaning, status, body; log-probabilities were asked for where it is no_logprobs
BODIES: list[tuple[str, int, Any]] = [
    # Bedrock
    ("limited", 429, {"message": "Too many tokens, please wait before trying again."}),
    ("limited", 400, {"__type": "ThrottlingException", "message": "Too many tokens, please wait before trying again."}),
    ("too_long", 400, {"message": "Input is too long for requested model."}),
    ("wrong_key", 403, {"message": "The security token included in the request is expired"}),
    ("not_there", 403, {"message": "You don't have access to the model with the specified model ID."}),
    ("not_there", 400, {"message": "The provided model identifier is invalid."}),
    ("refused", 400, {"message": "Guardrail was enabled and blocked this content."}),
    # Gemini, Vertex
    ("used_up", 429, google(429, QUOTA, DAILY, DELAY)),
    ("limited", 429, google(429, QUOTA, {"quotaId": "GenerateRequestsPerMinutePerProject"}, DELAY)),
    ("limited", 429, google(429, "Resource exhausted. Please try again later.")),
    ("wrong_key", 400, google(400, "API key not valid. Please pass a valid API key.", {"reason": "API_KEY_INVALID"})),
    ("wrong_key", 400, google(400, "API key expired. Please renew the API key.")),
    ("failed", 400, google(400, "User location is not supported for the API use.")),
    ("too_long", 400, google(400, "The input token count (12) exceeds the maximum number of tokens allowed (10).")),
    ("no_logprobs", 400, google(400, "The logprobs value must be in the range [1, 5]")),
    ("refused", 400, google(400, "This prompt contains sensitive words that violate our Responsible AI practices.")),
    # Anthropic
    ("again", 529, {"type": "error", "error": {"type": "overloaded_error", "message": "Overloaded"}}),
    ("used_up", 400, error("You have reached your specified API usage limits. You will regain access on 2026-02-01.")),
    ("too_long", 400, error("input length and `max_tokens` exceed context limit: 199000 + 8192 > 200000")),
    ("refused", 400, error("Output blocked by content filtering policy")),
    ("failed", 400, error("max_tokens: 9000 > 4096, which is the maximum allowed number of output tokens")),
    # OpenAI, Azure
    ("refused", 400, error("Invalid prompt: your prompt was flagged as potentially violating our usage policy.")),
    ("limited", 429, error("Rate limit reached on requests per day (RPD): Limit 200. Please try again in 7m12s.")),
    ("failed", 400, error("max_tokens is too large: 99. This model supports at most 16 completion tokens.")),
    ("not_there", 404, error("The API deployment for this resource does not exist.", code="DeploymentNotFound")),
    ("limited", 429, error("Requests have exceeded token rate limit. Please retry after 6 seconds.", code="429")),
    ("used_up", 500, error("upstream error", code="insufficient_quota")),
    ("proxy", 407, ""),
    # Mistral, Cohere
    ("not_there", 400, {"object": "error", "message": "Invalid model: foo", "type": "invalid_model", "code": "1500"}),
    ("too_long", 400, {"message": "Prompt contains 40 tokens, too large for model with 32 maximum context length"}),
    ("limited", 429, {"message": "You are using a Trial key, which is limited to 10 API calls / minute."}),
    ("used_up", 429, {"message": "You are using a Trial key, which is limited to 1000 API calls / month."}),
    ("refused", 498, {"message": "The request was blocked due to blocklisted n-grams or harmful content"}),
    # Groq, Together, Fireworks
    ("not_there", 400, error("The model `x` has been decommissioned and is no longer supported.")),
    ("failed", 400, error(GROQ)),
    ("no_logprobs", 400, error("property 'logprobs' is unsupported")),
    ("not_there", 400, error("Unable to access non-serverless model x. Create a dedicated endpoint for the model.")),
    ("used_up", 412, error("Account is suspended, possibly due to reaching the monthly spending limit.")),
    # vLLM, SGLang, llama.cpp, Ollama, TGI, TensorRT-LLM, LMDeploy, LM Studio
    ("too_long", 400, error("The decoder prompt (length 50) is longer than the maximum: see max_model_len")),
    ("no_logprobs", 400, error("Requested sample logprobs of 20, which is greater than max allowed: 5")),
    ("too_long", 400, error("The input (5000 tokens) is longer than the model's context length (4096 tokens).")),
    ("again", 500, error("EngineCore encountered an issue. See stack trace (above) for the root cause.")),
    ("too_long", 500, error("input is too large to process. increase the physical batch size", type="server_error")),
    ("again", 503, error("Loading model", type="unavailable_error")),
    ("not_there", 404, {"error": 'model "x" not found, try pulling it first'}),
    ("too_long", 422, {"error": "Input validation error: `inputs` must have less than 1024 tokens. Given: 2000"}),
    ("again", 424, {"error": "Request failed during generation: Server error: out of memory"}),
    ("too_long", 500, {"message": "The sum of prompt length and max_tokens should not exceed max_num_tokens (4096)"}),
    ("too_long", 400, {"message": "The input (5000) or session (9000) length exceeds session_len 4096"}),
    ("too_long", 400, {"error": "the model is loaded with context length of only 4096 tokens, which is not enough."}),
    # DeepSeek, Qwen, Zhipu, Moonshot, Volcengine, SiliconFlow, Tencent, Baidu
    ("not_there", 400, error("Model Not Exist", code="invalid_request_error")),
    ("used_up", 403, error("The free tier of the model has been exhausted.", code="AllocationQuota.FreeTierOnly")),
    ("too_long", 400, error("Range of input length should be [1, 30720]", code="invalid_parameter_error")),
    ("refused", 400, error("系统检测到输入或生成内容可能包含不安全或敏感内容", code="1301")),
    ("used_up", 429, error("You exceeded your current token quota: 0, please check your account balance")),
    ("used_up", 403, error("Your account org is not active, current state: suspended, please check your plan")),
    ("too_long", 400, error("Invalid request: Your request exceeded model token limit: 8192")),
    ("used_up", 403, error("The request failed because your account has an overdue balance.", code="AccountOverdue")),
    ("used_up", 403, {"code": 30001, "message": "Sorry, your account balance is insufficient", "data": None}),
    ("too_long", 400, {"code": 20015, "message": "length of prompt_tokens (50) must be less than max_seq_len (40)."}),
    ("used_up", 400, error("资源包余量已用尽, 请购买资源包或者开通后付费", code="4001")),
    ("too_long", 400, error("the max input characters is 20000", code="prompt_tokens_too_long")),
    # xAI, OpenRouter, watsonx, Databricks, Cloudflare, GitHub, Replicate, Novita, LiteLLM, Hugging Face
    ("used_up", 403, {"code": NO_ACCESS, "error": "Your newly created teams doesn't have any credits yet."}),
    ("wrong_key", 400, {"code": "invalid argument", "error": "Incorrect API key provided: xa***."}),
    ("refused", 403, {"code": NO_ACCESS, "error": "Content violates usage guidelines. Failed check: SAFETY_CHECK"}),
    ("used_up", 403, error("Key limit exceeded (total limit). Manage it using https://openrouter.ai/settings/keys")),
    ("limited", 429, error("Provider returned error", metadata={"raw": "x is temporarily rate-limited upstream."})),
    ("used_up", 403, {"errors": [{"message": "Request is rejected. The token usage quota has been reached."}]}),
    ("too_long", 400, {"errors": [{"message": "number of input tokens 50 cannot exceed the total tokens limit 40"}]}),
    ("refused", 400, {"message": '{"finishReason": "input_guardrail_triggered", "usage": {}}'}),
    ("used_up", 429, {"errors": [{"message": "you have used up your daily free allocation of 10,000 neurons"}]}),
    ("failed", 403, "<html><title>Attention Required! | Cloudflare</title>Sorry, you have been blocked</html>"),
    ("not_there", 400, error("Unavailable model: x", code="unavailable_model")),
    ("limited", 403, {"message": "You have exceeded a secondary rate limit."}),
    ("refused", 400, {"detail": "NSFW content detected. Try running it again, or try a different prompt."}),
    ("used_up", 403, {"code": 403, "reason": "NOT_ENOUGH_BALANCE", "message": "not enough balance"}),
    ("used_up", 400, error("Budget has been exceeded! Current cost: 1.2, Max budget: 1.0", type="budget_exceeded")),
    ("no_logprobs", 400, error("litellm.UnsupportedParamsError: x does not support parameters: ['logprobs']")),
    ("not_there", 400, error("The requested model is not supported by any provider", code="model_not_supported")),
    ("not_there", 400, error("litellm.BadRequestError: LLM Provider NOT provided. Pass in the LLM provider.")),
    ("used_up", 429, google(429, "Quota exceeded for quota metric 'Generate Content API requests per day'")),
    ("limited", 429, google(429, "Quota exceeded for quota metric 'Generate requests per minute'")),
    ("used_up", 429, error("You've exceeded the daily limit of free requests", code="free_daily_limit")),
    ("used_up", 429, {"message": "Monthly quota exceeded"}),
    ("used_up", 401, error("Billing hard limit has been reached", code="billing_hard_limit_reached")),
    ("limited", 498, error("flex tier capacity exceeded, try again later", code="capacity_exceeded")),
    ("limited", 422, {"error": "Model too busy"}),
    ("wrong_key", 400, google(400, "API Key not found. Please pass a valid API key.")),
    ("wrong_key", 400, {"error": "invalid x-api-key"}),
    ("too_long", 400, error("max_tokens must be at least 1, got -5.")),
    ("refused", 422, {"base_resp": {"status_code": 1026, "status_msg": "input new_sensitive"}}),
]  # fmt: skip


@pytest.mark.parametrize(("meaning", "status", "body"), BODIES)
def test_what_providers_say(meaning: str, status: int, body: Any) -> None:
    raw = body if isinstance(body, str) else json.dumps(body)
    assert meaning_of(status, read_error(raw.encode()), logprobs=meaning == "no_logprobs") == meaning


def all_meanings() -> list[str]:
    bodies = [(status, json.dumps(body), meaning == "no_logprobs") for meaning, status, body in BODIES]
    bodies += [(status, json.dumps([text, code, kind]), logprobs) for _, status, text, code, kind, logprobs in KNOWN]
    return [meaning_of(status, read_error(raw.encode()), logprobs=logprobs) for status, raw, logprobs in bodies]


def test_no_rule_is_there_for_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without any one of them something that is known would mean something else."""
    compiled, right = list(errors._COMPILED), all_meanings()
    idle = []
    for rule in compiled:
        monkeypatch.setattr(errors, "_COMPILED", [other for other in compiled if other is not rule])
        if all_meanings() == right:
            idle.append(rule[0].meaning)
    assert idle == ["failed"]  # the last, which is what is left


@pytest.mark.parametrize(
    ("body", "status"),
    [
        ({"base_resp": {"status_code": 1008, "status_msg": "insufficient balance"}}, 400),
        ({"error_code": 18, "error_msg": "Rate limit reached"}, 429),
        ({"code": 401, "msg": "token expired"}, 401),
        ({"success": False, "errors": [{"message": "Invalid API key", "code": 1}]}, 401),
    ],
)
def test_errors_of_gateways_in_a_200(body: object, status: int) -> None:
    said = read_error(json.dumps(body).encode())
    assert said.words
    assert status_of(said) == status


# --- parameters

MESSAGES = [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "Hi."}]
SENT = {"messages": MESSAGES, "max_tokens": 9, "temperature": 0.7, "top_p": 0.9, "seed": 1, "stop": ["x"]}
CHANGES = {"seed": "seed", "top_p": "top_p=0.9", "stop": "stop", "temperature": "temperature=0.7"}
ALSO = {"seed": ["random_seed"], "top_p": ["topP"], "stop": ["stop_sequences", "stopSequences"], "temperature": []}
REFUSALS = [
    "Unsupported parameter: '{}' is not supported with this model.",
    "Unknown name \"{}\": Cannot find field.",
    "json: unknown field \"{}\"",
    "Model x does not support parameter {}.",
    "This model doesn't support the {} field. Remove {} and try again.",
    "`{}` is deprecated for this model.",
    "`{}` may only be set to 1 when thinking is enabled.",
    "litellm.UnsupportedParamsError: bedrock does not support parameters: ['{}'], for model=x.",
    "Input validation error: `{}` must be strictly positive",
    "Input validation error: `{}` supports up to 4 of them. Given: 6",
    "[{{'type': 'extra_forbidden', 'loc': ('body', '{}'), 'msg': 'Extra inputs are not permitted'}}]",
    "1 validation error: {}: extra fields not permitted",
]  # fmt: skip


@settings(max_examples=80, deadline=None)
@given(
    name=st.sampled_from(sorted(CHANGES)),
    words=st.sampled_from(REFUSALS),
    form=st.sampled_from([error, lambda m: {"object": "error", "message": m}, lambda m: {"detail": m}, lambda m: [m]]),
    case=st.sampled_from([str, str.upper, str.title]),
    status=st.sampled_from([400, 422]),
    data=st.data(),
)
def test_a_refused_parameter_is_changed_and_nothing_else(
    name: str, words: str, form: Any, case: Any, status: int, data: st.DataObject
) -> None:
    """In whatever words, under whatever of its names; and it is never taken for something that meets every request."""
    called = data.draw(st.sampled_from([name, *ALSO[name]]))
    said = read_error(
        json.dumps(form(case(words.replace("{}", called).replace("{{", "{").replace("}}", "}")))).encode()
    )
    assert meaning_of(status, said, logprobs=True) == "failed"
    assert change_for(status, said, SENT) == CHANGES[name]


@pytest.mark.parametrize(
    "words",
    [
        "System role not supported",
        "messages.0.role: Input should be 'user' or 'assistant'",
        "Invalid value: 'system'. Supported values are: 'user', 'assistant'.",
        "The first message must have role 'user'",
        "Unsupported value: 'messages[0].role' does not support 'system' with this model.",
        "Developer instruction is not enabled for models/gemma-3-27b-it",
        "This model doesn't support system messages. Try again without a system message.",
        "Only user and assistant roles are supported! at row 12, column 3",
        'Error rendering prompt with jinja template: "Conversation roles must alternate user/assistant/..."',
    ],
)
def test_a_refused_system_role(words: str) -> None:
    said = read_error(json.dumps(error(words)).encode())
    assert meaning_of(400, said, logprobs=True) == "failed"
    assert change_for(400, said, SENT) == "system"
