"""What a server's error means, read from the whole of it before anything is cut: its codes, its types, its words.

Providers agree on little: used-up quotas come as 429, moderation as 400, 403 or a code, errors as a 200. Each rule of
``RULES`` is a meaning, the statuses it may come with, and what must be said, without regard to case, spaces and signs.
Ours because the well-kept clients stop earlier: openai's knows the status alone (429 and 5xx are tried again, also
where the quota is used up), litellm maps the words of some providers to exceptions and comes with some twenty packages
(boto3 among them). Their lists of words were looked at.
"""

from __future__ import annotations

import json
import re
from collections.abc import Collection, Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Final, Literal, NamedTuple

__all__ = ["RULES", "Meaning", "Rule", "Said", "meaning_of", "read_error", "status_of"]

Meaning = Literal[
    "elsewhere",  # all requests are lost: a redirection
    "proxy",  # ... a proxy in between wants a password
    "used_up",  # ... the account
    "wrong_key",  # ...
    "not_there",  # ... the model, or the path
    "refused",  # this request gets no answer: moderation
    "no_logprobs",  # ... not with log-probabilities
    "too_long",  # ... the prompt, with all that may follow it
    "failed",  # ... for another reason
    "limited",  # asked again: too many calls at a time
    "again",  # asked again
]

_ECHOES: Final = frozenset({"input", "flagged_input", "request", "messages", "prompt", "ctx", "url"})  # what was sent
_LEAST_ECHO: Final = 20  # characters of a text that no error says by chance
_WORDS: Final = (
    *("message", "msg", "error", "detail", "description", "error_description", "title", "reason"),
    *("error_msg", "errmsg", "status_msg", ""),
)
_CODES: Final = ("code", "status", "status_code", "error_code")
_NAMES: Final = ("param", "parameter", "field")
_WAITS: Final = ("retrydelay", "retry_delay", "retry_after", "retry_after_seconds")
_MOST_PARTS: Final = 10_000  # of a body that are looked at
_MOST_CHARACTERS: Final = 1_000_000  # of what it says: of more its beginning and its end
_STATUS: Final = re.compile(r"[345][0-9]{2}")
_NUMBER: Final = r"([0-9]{1,6}(?:\.[0-9]{1,9})?)\s*"
_UNITS: Final = ("h(?:ours?|rs?)?", "m(?:in(?:ute)?s?)?", "s(?:ec(?:ond)?s?)?", "ms")
_LENGTH: Final = r"\s*".join(rf"(?:{_NUMBER}{unit}(?![a-z]))?" for unit in _UNITS)
_SPAN: Final = re.compile(_LENGTH)
_WAIT: Final = re.compile(rf"(?:try again|retry)\s+(?:in|after)\s+{_LENGTH}")


@dataclass(frozen=True, slots=True)
class Said:
    """What an error's body says.

    Attributes:
        words: its message and code, for people, in full.
        plain: all that it says, in lower case.
        squeezed: the same without spaces and signs.
        names: the parameters that it calls the cause.
        status: the status that the body itself names; None where it names none.
        wait: seconds that it asks to wait.
    """

    words: str = ""
    plain: str = ""
    squeezed: str = ""
    names: frozenset[str] = frozenset()
    status: int | None = None
    wait: float | None = None


class Rule(NamedTuple):
    """``says`` is sought in ``Said.squeezed``; ``unless`` must not be there."""

    meaning: Meaning
    statuses: Collection[int]
    says: str = ""
    unless: str = r"(?!)"


_ANY_4XX: Final = frozenset({*range(400, 500)} - {401, 404, 407, 408, 409, 425, 429})
_ANY_5XX: Final = range(500, 600)
_QUOTA: Final = (
    r"insufficientquota|exceededyourcurrent(token)?quota|billing(hard)?limit|billingnotactive|billingtobeenabled"
    r"|insufficient(account)?(balance|credit|fund)|balance(is)?(insufficient|notenough)|accountbalance|overdue"
    r"|creditbalanceis|(outof|notenough|nomore|haveany|allavailable)(your)?(credit|balance)|account(is)?(suspended|deactivated)"
    r"|account\w{0,30}isnotactive|arrear|spend(ing)?limit|budget(hasbeen)?exceed|keylimitexceeded|paymentrequired"
    r"|apiusagelimit|usagequota|freetier\w{0,40}exhausted|freeallocation|free\w{0,20}perday"
    r"|(per|calls)month|(daily|weekly|monthly)\w{0,10}(quota|limit|allowance)|余额不足|欠费|余量已用尽"
)
_DAILY: Final = r"(exceededyourcurrentquota|quotaexceeded)\w{0,2000}perday"  # with a delay that would not help
_PASSING: Final = r"per(second|minute|min|hour)|retryin|tryagainin|retrydelay"  # a quota that fills up by itself
_FILTERED: Final = r"contentfilter|contentpolicyviolation|responsibleaipolicy|contentmanagementpolicy"
_GUARD: Final = r"(blocked|violat|trigger|interven|failed)"
_MODERATED: Final = (
    rf"{_FILTERED}|contentpolicy|moderation|flagged|safetysystem|usage(polic|guideline)|violat\w{{1,40}}(polic|guideline)"
    r"|prohibitedcontent|datainspectionfailed|inappropriatecontent|blockedby\w{0,20}safety|harmfulcontent|unsafecontent"
    r"|contentexistsrisk|sensitive(content|word|information)|(in|out)put(new)?sensitive|(content|prompt)(was|is|hasbeen)?blocked|nsfw|cyberpolicy"
    rf"|{_GUARD}\w{{0,40}}guardrail|guardrail\w{{0,40}}{_GUARD}|敏感内容|违规内容"
)
_LONG: Final = (
    r"context(length|window|size|limit)|maximumcontext|maxcontext|(prompt|input)(tokens?)?(is|are)?too(long|large)"
    r"|toomany(input)?tokens|exceed\w{0,20}maximumnumberof(input)?tokens|maxnewtokensmustbe|reducethelengthof|requesttoolarge"
    r"|(maximum|max)(input|prompt)((token)?(length|s)|characters)|inputtokens?(count)?exceed|tokensexceed|stringtoolong"
    r"|exceed\w{0,20}modeltokenlimit|inputtokens\w{0,20}exceed\w{0,20}limit|input(s|length)(musthavelessthan|shouldbe)"
    r"|max(model|seq)len|maxnumtokens|sessionlen|maxtokensmustbeatleast1(?![0-9])"
)
# the bound of the answer alone is more than the model may write at all: no matter of the prompt
_TOO_MUCH_ASKED: Final = r"maxtokensmustbelessthanorequalto[0-9]"
_NO: Final = r"not(yet)?(support|implement|enable|allow|available|permit)|unsupported|disabled"
_RATE: Final = (
    r"ratelimit|toomanyrequests|throttl|requestsper(second|minute|hour|day)|tokensper(minute|hour|day)|(server|too)busy"
    r"|capacityexceeded|atcapacity"
)
_KEY: Final = (
    r"key|authenti|authoriz|credential|permission|accessdenied|login|signin|invalidtoken|token\w{0,40}(expired|invalid)"
)
_KEY_PLAINLY: Final = (
    r"(invalid|incorrect|wrong|missing|no)x?apikey"
    r"|apikey(has|is|was)?(notvalid|invalid|expired|missing|required|notfound)"
)
_MODEL: Final = (
    r"model(was|is)?not(found|exist|available)|modelnotsupported|model\w{0,80}doesnotexist|nosuchmodel|notavalidmodel"
    r"|(unknown|unavailable)model|invalidmodel(?!(output|response))|model(id|identifier|name)(is)?(invalid|unknown)"
    r"|model\w{0,80}(identifier|id)isinvalid|model\w{0,80}(decommissioned|beenretired|beendeprecated)|nonserverlessmodel"
    r"|accesstothe(specified)?model|llmprovidernotprovided"
)
_PATH: Final = (
    r"unexpectedendpoint|(unknown|nosuch|invalid)(endpoint|path|url|route|requesturl)|cannotpost|(route|endpoint|path)notfound"
    r"|methodnotallowed"
)

#: the first that fits counts; those with log-probabilities count where they were asked for
RULES: Final[tuple[Rule, ...]] = (
    Rule("elsewhere", range(300, 400)),
    Rule("proxy", (407,)),
    Rule("used_up", (402,)),
    Rule("used_up", range(400, 600), r"insufficient\w{0,10}quota"),
    Rule("used_up", (429,), _DAILY, unless=r"per(second|minute|hour)"),
    Rule("used_up", (400, 401, 403, 412, 429), _QUOTA, unless=_PASSING),
    Rule("refused", _ANY_4XX, _MODERATED),
    Rule("refused", {*range(402, 600)} - {407}, _FILTERED),
    Rule("no_logprobs", {*_ANY_4XX, 404}, r"logprob"),
    Rule("no_logprobs", _ANY_4XX, r"(output|token)limitwasreached|couldnotfinishthemessage"),  # of one token
    Rule("no_logprobs", _ANY_4XX, r"max\w{0,12}tokens\w{0,40}(atleast(?!1(?![0-9]))|minimum|mustbegreater)"),
    Rule("no_logprobs", _ANY_5XX, rf"logprob\w{{0,80}}({_NO})|({_NO})\w{{0,80}}logprob"),
    Rule("too_long", (413,)),
    Rule("limited", _ANY_4XX, r"throttl"),
    Rule("too_long", {*_ANY_4XX, *_ANY_5XX}, _LONG, unless=_TOO_MUCH_ASKED),
    Rule("too_long", (429,), r"requesttoolarge"),
    Rule("wrong_key", (401,)),
    Rule("wrong_key", (403,), _KEY),
    Rule("wrong_key", (400,), _KEY_PLAINLY),
    Rule("not_there", (404, 405, 410)),
    Rule("not_there", _ANY_4XX, rf"{_MODEL}|{_PATH}"),
    Rule("limited", {*_ANY_4XX, 429}, _RATE),
    Rule("limited", _ANY_5XX, r"ratelimit|toomanyrequests|throttl"),
    Rule("limited", (429,)),
    Rule("again", {408, 409, 424, 425, 499, *_ANY_5XX}),
    Rule("failed", range(1000)),
)
_COMPILED: Final = [(rule, frozenset(rule.statuses), re.compile(rule.says), re.compile(rule.unless)) for rule in RULES]


def meaning_of(status: int, said: Said, *, logprobs: bool = False) -> Meaning:
    """What an error means.

    Args:
        status: of HTTP, or what ``status_of`` takes for it.
        logprobs: whether log-probabilities were asked for.

    >>> meaning_of(403, read_error(b'{"error": {"message": "Your input was flagged"}}'))
    'refused'
    """
    for rule, statuses, says, unless in _COMPILED:
        if status not in statuses or (rule.meaning == "no_logprobs" and not logprobs):
            continue
        if says.search(said.squeezed) and not unless.search(said.squeezed):
            return rule.meaning
    return "failed"


def status_of(said: Said) -> int:
    """The status that a 200 with an error should have had: what its body names, or what its words mean; else 503."""
    if said.status is not None:
        return said.status
    words = {404: _PATH, 401: r"(invalid|incorrect|missing)apikey|unauthorized", 429: _RATE}
    found = next((status for status, says in words.items() if re.search(says, said.squeezed)), None)
    if found is not None:
        return found
    return 503 if meaning_of(400, said, logprobs=True) == "failed" else 400


# --- reading


def read_error(raw: bytes, sent: Iterable[str] = ()) -> Said:
    """What a body says, whatever its form: an object, a list, a string, no JSON at all.

    Args:
        raw: without keys.
        sent: the texts of the request: a server that repeats one does not say it.
    """
    try:
        body: object = json.loads(raw)
    except (ValueError, RecursionError):
        body = raw.decode("utf-8", "replace")
    parts = list(_parts(body))
    plain = "\n".join(text for _, text in parts)
    for piece in sent:
        plain = plain.replace(piece, " ") if len(piece) >= _LEAST_ECHO else plain
    if len(plain) > _MOST_CHARACTERS:
        plain = f"{plain[: _MOST_CHARACTERS // 2]}\n{plain[-_MOST_CHARACTERS // 2 :]}"
    plain = plain.casefold()
    return Said(
        words=_told(parts),
        plain=plain,
        squeezed=re.sub(r"[\W_]+", "", plain),
        names=frozenset(text.casefold() for key, text in parts if key in _NAMES),
        status=next((int(text) for key, text in parts if key in _CODES and _STATUS.fullmatch(text)), None),
        wait=_wait(parts, plain),
    )


def _parts(body: object) -> Iterator[tuple[str, str]]:
    """Key and text of all that a body says, but for what repeats the request; JSON within a text is read as well."""
    waiting: list[tuple[str, object]] = [("", body)]
    for _ in range(_MOST_PARTS):
        if not waiting:
            return
        key, value = waiting.pop()
        if isinstance(value, dict):
            waiting += reversed([(str(k).casefold(), v) for k, v in value.items()])
        elif key in _ECHOES:
            continue
        elif isinstance(value, list):
            waiting += [(_NAMES[0], value[-1])] if key == "loc" and value else [(key, v) for v in reversed(value)]
        elif value is not None and not isinstance(value, bool):
            yield key, str(value)
            waiting += _within(key, value)


def _within(key: str, value: object) -> list[tuple[str, object]]:
    """What a text holds that is JSON itself, as a gateway puts its provider's answer."""
    if isinstance(value, str) and value.lstrip()[:1] in ("{", "["):
        with suppress(ValueError, RecursionError):
            return [(key, json.loads(value))]
    return []


def _told(parts: Sequence[tuple[str, str]]) -> str:
    """The message, what it is about, and the code, as far as they are there."""
    found = {key: text for key, text in reversed(parts) if text.strip()}
    message = next((found[key] for key in _WORDS if key in found), "")
    more = [found[key] for key in (_NAMES[0], _CODES[0]) if key in found]
    return " ".join([message, *(text for text in more if text.casefold() not in message.casefold())]).strip()


def _wait(parts: Sequence[tuple[str, str]], plain: str) -> float | None:
    """Seconds that a body asks to wait."""
    named = next((text for key, text in parts if key in _WAITS), None)
    found = _SPAN.fullmatch(named.strip().casefold()) if named else _WAIT.search(plain)
    if not found or not any(found.groups()):
        return None
    hours, minutes, seconds, thousandths = (float(number or 0) for number in found.groups())
    return 3600 * hours + 60 * minutes + seconds + thousandths / 1000
