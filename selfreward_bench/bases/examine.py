"""The examination of a model's files: everything that can be known before its weights are loaded.

It takes seconds, reads headers of weights only, and says all that it finds at once. What only computing can tell is
the preflight's (``trainers.preflight``).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from pathlib import Path

from selfreward_bench.bases.files import architecture_of, file_findings, read_config
from selfreward_bench.bases.findings import Examination, Finding, Purpose, refusal, refuse
from selfreward_bench.config import EngineConfig
from selfreward_bench.engines import open_engine as open_at_once
from selfreward_bench.engines.base import Engine
from selfreward_bench.errors import SrbenchError, first_line
from selfreward_bench.storage.adapters import parts

__all__ = ["examine", "open_engine"]


def open_engine(
    config: EngineConfig, model: str | Path, *, threads: int | None = None, chat_template: str | None = None
) -> Engine:
    """As ``selfreward_bench.engines.open_engine``, after an examination of a model whose files are read here.

    Raises:
        EngineError: the model cannot be used; says all that was found.
    """
    if config.kind in ("transformers", "vllm") and Path(model).is_dir():
        refuse(str(model), examine(Path(model), Purpose(config, chat_template=chat_template)).findings)
    return open_at_once(config, model, threads=threads, chat_template=chat_template)


def examine(directory: Path, purpose: Purpose, name: str | None = None) -> Examination:
    """Examines a model in Hugging Face layout.

    Args:
        purpose: what it is wanted for.
        name: what the user calls it; its directory if None.
    """
    base = name or str(directory)
    findings = list(file_findings(directory, purpose))
    if any(f.severity == "refusal" for f in findings):  # what follows would only repeat it in a library's words
        return Examination(base=base, findings=tuple(findings))
    facts: dict[str, str | int | float] = {"architecture": architecture_of(read_config(parts(directory).weights))}
    findings += _look_closer(directory, purpose, facts)
    return Examination(base=base, facts=facts, findings=tuple(findings))


def _look_closer(directory: Path, purpose: Purpose, facts: dict[str, str | int | float]) -> list[Finding]:
    """What transformers tells of the files."""
    from selfreward_bench.bases import generation, limits, model, templates, tokens
    from selfreward_bench.engines.loading import end_ids, usable_positions

    of = parts(directory)
    config, findings = model.read_model_config(of.weights, purpose)
    findings += _tried("generation", lambda: generation.generation_findings(of.generation))
    if config is None or any(f.severity == "refusal" for f in findings):
        return findings
    view, found = model.model_findings(of.weights, config, purpose)
    findings += found
    tokenizer, found = tokens.read_tokenizer(of.tokenizer, purpose)
    findings += found
    ends: frozenset[int] = frozenset()
    if tokenizer is not None:
        findings += _tried("tokenizer", lambda: tokens.reading_findings(tokenizer, of.tokenizer))
        try:
            ends = end_ids(directory, config, tokenizer)
        except Exception:  # whatever a wrong type causes
            files = "generation_config.json, or config.json"
            findings.append(refusal("generation", f"Its end tokens ({files}: eos_token_id) are no ids. Mend the file."))
    if tokenizer is not None and view is not None:
        findings += _tried("tokenizer", lambda: tokens.token_findings(tokenizer, view.embeddings, ends, purpose))
        findings += _tried("context", lambda: limits.context_findings(view, tokenizer, purpose))
    if tokenizer is not None:
        findings += _tried("template", lambda: templates.chosen_findings(tokenizer, directory, ends, purpose))
    if view is not None:
        facts |= {"parameters": view.parameters, "embeddings": view.embeddings}
        facts |= {"positions": positions} if (positions := usable_positions(config)) else {}
        findings += limits.cache_findings(view)
        findings += limits.number_findings(directory, purpose)
        findings += limits.memory_findings(view, purpose)
    return findings


def _tried(topic: str, look: Callable[[], Iterable[Finding]]) -> list[Finding]:
    """What a look finds; whatever a library says of files that it did not foresee becomes a refusal."""
    try:
        return list(look())
    except SrbenchError:
        raise
    except Exception as error:
        kind = type(error).__name__
        text = first_line(error).removeprefix(f"{kind}: ")
        return [refusal(topic, f"What its files say of the {topic} cannot be understood: {kind}: {text}")]
