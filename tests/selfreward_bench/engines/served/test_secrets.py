"""No key in any text, however a server spells it, and however much stands around it."""

from __future__ import annotations

import base64
import html
import json
import time
from collections.abc import Callable
from urllib.parse import quote

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from selfreward_bench.engines.served import secrets as served_secrets
from selfreward_bench.engines.served.faults import clean, readable
from selfreward_bench.engines.served.secrets import is_secret, redacted, redacted_bytes, remember

KEY = "sk-proj-Zq7/x+Y_9=w0rD-lmN"
ODD = "odd\"key\\with&all'<of>it"


def each(form: str) -> Callable[[str], str]:
    return lambda text: "".join(form.format(ord(c)) for c in text)


SPELLINGS: dict[str, Callable[[str], str]] = {
    "as it is": str,
    "capitals": str.upper,
    "json": lambda text: json.dumps(text)[1:-1],
    "json in json": lambda text: json.dumps(json.dumps(text))[1:-1],
    "slashes": lambda text: text.replace("\\", "\\\\").replace("/", "\\/").replace('"', '\\"'),
    "u": each("\\u{:04x}"),
    "U": each("\\u{:04X}"),
    "u{}": each("\\u{{{:x}}}"),
    "long U": each("\\U{:08X}"),
    "u in json": lambda text: json.dumps(each("\\u{:04x}")(text)),
    "x": each("\\x{:02x}"),
    "percent": each("%{:02x}"),
    "PERCENT": each("%{:02X}"),
    "url": lambda text: quote(text, safe=""),
    "url twice": lambda text: quote(quote(text, safe=""), safe=""),
    "percent of u": lambda text: quote(each("\\u{:04x}")(text), safe=""),
    "html": html.escape,
    "html twice": lambda text: html.escape(html.escape(text)),
    "numbers": each("&#{};"),
    "hex numbers": each("&#x{:X};"),
    "hex": lambda text: text.encode().hex(),
    "HEX": lambda text: text.encode().hex().upper(),
    **{
        f"base64 {before}": lambda text, before=before: base64.b64encode((before + text + "tail").encode()).decode()
        for before in ("", "x", "xy")
    },
    "base64 in a url": lambda text: quote(base64.urlsafe_b64encode(f"Bearer {text}".encode()).decode(), safe=""),
    "base64 by php": lambda text: base64.b64encode(f"Bearer {text}".encode()).decode().replace("/", "\\/"),
    "cut off": lambda text: text[: len(text) * 2 // 3],
    "its end": lambda text: text[-len(text) * 2 // 3 :],
}


@pytest.fixture(autouse=True)
def known(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(served_secrets, "_redactor", served_secrets._Redactor())
    remember(KEY, ODD)


@pytest.mark.parametrize("key", [KEY, ODD])
@pytest.mark.parametrize("spelling", SPELLINGS)
def test_a_key_is_taken_out_in_every_spelling(spelling: str, key: str) -> None:
    spelled = SPELLINGS[spelling](key)
    shown = redacted(f"[{spelled}|{spelled}]")
    assert shown.count("***") == 2
    pieces = [spelled[at : at + 10] for at in range(2, len(spelled) - 12)]  # base64's first and last say little
    assert not [piece for piece in pieces if piece in shown]
    assert shown.startswith("[")
    assert shown.endswith("]")
    assert len(shown) < 30


def test_texts_without_a_key_stay_as_they_are() -> None:
    for text in (
        "",
        "a b",
        "100%25 \\u0041 &amp; \\\\ sk-proj- /",
        "\ud800 é 中",
        json.dumps({"a": "\n\"'/"}),
        KEY[:8],
    ):
        assert redacted(text) == text
    assert redacted_bytes(bytes(range(256))) == bytes(range(256))


@pytest.mark.parametrize("before", ["", "x", "Bearer "])
def test_a_key_in_two_fields_leaves_no_piece_to_put_together(before: str) -> None:
    """Wherever it is parted, as it is, in base64 or in hex; a part of it may stay, as in a text that is cut off."""
    secret = before.encode() + KEY.encode()
    for spelled in (before + KEY, base64.b64encode(secret).decode(), secret.hex()):
        for at in range(1, len(spelled)):
            fields = json.loads(redacted(json.dumps({"a": spelled[:at], "b": spelled[at:]})))
            left = max(len(piece) for text in fields.values() for piece in text.split("***"))
            assert left <= len(spelled) // 2 + 2, (spelled, at, fields)


def test_json_stays_json() -> None:
    remember("nothing-but-a-key-1")
    body = json.dumps({"a": "\nothing-but-a-key-1", "b": "\\nothing-but-a-key-1", "c": KEY, "d": f"\\{KEY}\\"})
    assert json.loads(redacted(body)) == {"a": "\n***", "b": "\\***", "c": "***", "d": "\\***\\"}


@settings(max_examples=60, deadline=None)
@given(
    spelling=st.sampled_from(sorted(SPELLINGS)),
    before=st.integers(0, 9000),
    after=st.integers(0, 50),
    filler=st.sampled_from(["x", " ", "\\", '"', "é", "%", "&", "\\u0041", "\n"]),
)
def test_no_cut_comes_before_the_key_is_taken_out(spelling: str, before: int, after: int, filler: str) -> None:
    spelled = SPELLINGS[spelling](KEY)
    shown = clean((filler * before)[:before] + "-" + spelled + "-" + filler * after)
    assert len(shown) <= 200
    assert not [at for at in range(2, len(spelled) - 14) if spelled[at : at + 12] in shown]


@pytest.mark.parametrize("encoding", ["utf-16", "utf-16-le", "utf-32", "utf-32-be", "utf-8-sig", "utf-8"])
def test_a_key_is_found_in_any_encoding_that_json_has(encoding: str) -> None:
    body = json.dumps({"error": f"you sent {KEY}, é"}, ensure_ascii=False).encode(encoding)
    assert json.loads(readable(body)) == {"error": "you sent ***, é"}


def test_placeholders_and_short_words_are_no_secrets() -> None:
    words = ["", "x", "EMPTY", "none", "None", "dummy", "ollama", "lm-studio", "token", "secret", "sk-1", "placeholder"]
    assert [w for w in words if is_secret(w)] == []
    assert all(map(is_secret, ["s3cret", "sk-123", "sk-wr0ng", "abcdefgh", "token-abc123"]))
    remember(*words)
    assert redacted("an EMPTY list, none of ollama's") == "an EMPTY list, none of ollama's"


@pytest.mark.parametrize("piece", ["\\", "%25", "&amp;", "%41", "\\u", KEY, KEY[:13], "&#0", "\\u{0"])
def test_hostile_texts_take_time_in_proportion_to_their_length(piece: str) -> None:
    def seconds(size: int) -> float:
        text = piece * (size // len(piece))
        start = time.process_time()
        redacted(text)
        return time.process_time() - start

    assert seconds(400_000) < 50 * max(seconds(40_000), 0.02)  # 10 is linear, 100 quadratic
