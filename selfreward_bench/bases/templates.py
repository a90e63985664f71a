"""A chat template tried on srbench's own messages: what it renders, refuses, and leaves out."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator, Sequence
from pathlib import Path
from typing import Any, Final

from selfreward_bench.bases.findings import Finding, Purpose, note, refusal, warning
from selfreward_bench.engines.chat import takes_system
from selfreward_bench.engines.templates import give_template, of_run, text_behind_answers
from selfreward_bench.errors import SrbenchError, first_line

__all__ = ["chosen_findings"]

_Turns = Sequence[tuple[str, str]]
_USER: Final = ("user", "Name a red food.")
_ANSWER: Final = "A red apple."
_THOUGHT: Final = "<think>\nRed, and food.\n</think>\n\nA red apple."
_PROCESSORS: Final = "chat_template.json"
_CONTROL: Final = re.compile(r"<\|[A-Za-z0-9_]{1,40}\|>|\[/?INST\]|</?s>|<(?:start|end)_of_turn>")


def chosen_findings(tokenizer: Any, directory: Path, ends: Collection[int], purpose: Purpose) -> Iterator[Finding]:
    """What the template that renders messages makes of the conversations that srbench asks for.

    Args:
        tokenizer: gets the template, where it is not its own.
        ends: ids that end an answer, as the engine takes them.
    """
    chosen = purpose.chat_template
    if purpose.run:
        of_base = of_run(purpose.run, "M0", directory)
        chosen = of_base.given if of_base else None
        if of_base and not of_base.named and (directory / _PROCESSORS).is_file():
            yield warning(
                "template",
                f"{_PROCESSORS} is read by processors of images alone, so a plain template renders messages. For the "
                "model's own, set chat_template to a Jinja file with the text that stands in it.",
            )
        elif of_base and not of_base.named:
            yield note("template", "There is no chat template; a plain one renders messages, with roles as headings.")
        elif of_base:
            yield note("template", of_base.told("M0").removeprefix("M0: "))
    if chosen is not None:
        try:
            ends = {*ends, *give_template(tokenizer, chosen).ids}
        except SrbenchError as error:
            yield refusal("template", str(error))
            return
        if purpose.run and (behind := text_behind_answers(tokenizer)):
            yield refusal(
                "template",
                f"chat_template {chosen} writes {behind[:60]!r} behind an answer, plain text to the tokenizer, so "
                "the model would learn it as a part of its answers. Let the template write {{ eos_token }} there.",
            )
    if tokenizer.chat_template:
        yield from _template_findings(tokenizer, ends, purpose)


def _template_findings(tokenizer: Any, ends: Collection[int], purpose: Purpose) -> Iterator[Finding]:
    template = tokenizer.chat_template
    if isinstance(template, dict) and "default" not in template:
        names = ", ".join(sorted(template))
        yield refusal(
            "template",
            f"There are several chat templates ({names}) and none is called default. Keep one of "
            "them, or set chat_template to a file.",
        )
        return
    try:
        opened = _render(tokenizer, [_USER], waiting=True)
        whole = _render(tokenizer, [_USER, ("assistant", _ANSWER)])
    except Exception as error:  # jinja2 raises many kinds; a template's own refusal among them
        yield refusal("template", f"The chat template cannot render a question and its answer: {first_line(error)}")
        return
    yield from _round_trip(tokenizer, opened, whole)
    yield from _other_turns(tokenizer)
    yield from _own_end(tokenizer, whole, ends, purpose)
    yield from _control_strings(tokenizer, whole + opened)
    text = _text_of(tokenizer)
    if text.startswith("\ufeff"):
        yield warning(
            "template", "The chat template begins with a byte order mark, which every prompt gets. Save it without."
        )
    if "strftime_now" in text:
        yield note("template", "The chat template shows today's date, so what is rendered differs from day to day.")


def _round_trip(tokenizer: Any, opened: str, whole: str) -> Iterator[Finding]:
    """An answer must follow the waiting prompt, and be there whole."""
    if not whole.startswith(opened):
        same = next((i for i, (a, b) in enumerate(zip(opened, whole, strict=False)) if a != b), len(whole))
        yield refusal(
            "template",
            f"The chat template writes {opened[same:][:60]!r} where it waits for an answer and {whole[same:][:60]!r} "
            "where that is there, so training would not match generation. Set chat_template to a file that writes the "
            "same in both (docs/chat-templates.md).",
        )
        return
    if _ANSWER not in whole[len(opened) :]:
        yield refusal(
            "template", "The chat template leaves an answer out of the conversation. Set chat_template to another."
        )
        return
    if spoken := _spoken_before(tokenizer, opened, whole):
        yield refusal(
            "template",
            f"The chat template writes {spoken[:60]!r} before an answer, and not where it waits for one "
            "(add_generation_prompt), so the model would learn it as a part of its answers, which would then have it "
            "twice. Set chat_template to one that opens the answer where it waits for it.",
        )
        return
    try:
        thought = _render(tokenizer, [_USER, ("assistant", _THOUGHT)])
    except Exception as error:  # as above
        yield warning("template", f"The chat template refuses answers with <think> and </think>: {first_line(error)}")
        return
    if "Red, and food." not in thought and "think" in _text_of(tokenizer):
        yield note(
            "template",
            "The chat template leaves the thoughts (<think> to </think>) of an answer out; answers are trained whole.",
        )


def _spoken_before(tokenizer: Any, opened: str, whole: str) -> str:
    """What is put before an answer as its part, and is not the same when the answer comes with it; mostly empty.

    A template may write a thought that is empty (Qwen3), and finds it again in what was answered.
    """
    head = whole[len(opened) :].partition(_ANSWER)[0]
    for token in tokenizer.added_tokens_decoder.values():
        head = head.replace(token.content, "") if token.special else head  # as an answer's text leaves them out
    if not head.strip():
        return ""
    try:
        again = _render(tokenizer, [_USER, ("assistant", head.strip() + _ANSWER)])
    except Exception:  # as above
        return head
    return "" if "".join(again.split()) == "".join(whole.split()) else head


def _own_end(tokenizer: Any, whole: str, ends: Collection[int], purpose: Purpose) -> Iterator[Finding]:
    """The control token that closes an answer, where it is not one that ends it; training stops at the first."""
    special = {i for i, token in tokenizer.added_tokens_decoder.items() if token.special}
    behind = tokenizer(whole.rpartition(_ANSWER)[2], add_special_tokens=False)["input_ids"]
    first = next((i for i in behind if i in special), None)
    if first is not None and first not in ends:
        token = f"{tokenizer.convert_ids_to_tokens(first)!r} ({first})"
        what = "SFT makes it an end token, too" if purpose.run else "the model does not stop there"
        yield note("template", f"The chat template closes an answer with {token}; {what}.")


def _other_turns(tokenizer: Any) -> Iterator[Finding]:
    later = [_USER, ("assistant", _ANSWER), ("user", "Name another.")]
    if fault := _fault(tokenizer, later, ["Name another.", _USER[1]]):
        yield warning("template", f"The chat template cannot render a second question ({fault}); MT-Bench asks one.")
    fault = _fault(tokenizer, [("system", "Be brief."), _USER], ["Be brief.", _USER[1]])
    if fault or not takes_system(tokenizer):
        fault = fault or "it is left out once there is an answer"
        yield note("template", f"It has no system turn ({fault}). A system's text goes into the user's turn.")
    if fault := _fault(tokenizer, [_USER, ("user", "Now.")], ["Now."]):
        yield note("template", f"It takes no two turns of one role after the other ({fault}).")


def _fault(tokenizer: Any, turns: _Turns, wanted: Sequence[str]) -> str:
    """Why turns are not rendered; empty where they are."""
    try:
        text = _render(tokenizer, turns, waiting=True)
    except Exception as error:  # as above
        return first_line(error)
    return "" if all(words in text for words in wanted) else "it is left out"


def _control_strings(tokenizer: Any, rendered: str) -> Iterator[Finding]:
    """What looks like a control token in the template and is none to the tokenizer."""
    added = {token.content: token.special for token in tokenizer.added_tokens_decoder.values()}
    special = {str(token) for token in tokenizer.all_special_tokens}
    strings = sorted({*_CONTROL.findall(rendered), *(c for c in added if c.strip() and c in rendered)})
    plain = [s for s in strings if s in added and not added[s] and s not in special]
    spelt = [s for s in strings if s not in added and s not in special]
    if plain:
        yield note("template", f"The template's {', '.join(plain)} are added tokens that are not marked as special.")
    if spelt:
        yield note("template", f"The template's {', '.join(spelt)} are no tokens; the model reads them as text.")


def _text_of(tokenizer: Any) -> str:
    template = tokenizer.chat_template
    return str(template["default"] if isinstance(template, dict) else template)


def _render(tokenizer: Any, turns: _Turns, waiting: bool = False) -> str:
    messages = [{"role": role, "content": content} for role, content in turns]
    return str(tokenizer.apply_chat_template(messages, tokenize=False, add_generation_prompt=waiting))
