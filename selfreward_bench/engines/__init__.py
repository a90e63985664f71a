"""Engines: what generates text and scores continuations. A new kind is one module and one row of ``ENGINES``.

Installed packages bring further kinds as entry points of the group ``srbench.engines`` (docs/extending.md).
"""

from __future__ import annotations

from pathlib import Path
from typing import cast

from selfreward_bench.config import ClusterConfig, EngineConfig
from selfreward_bench.engines.base import Engine
from selfreward_bench.plugins import Table

# kind -> "module:function" with the signature of open_engine; resolved on first use, so that no torch is loaded here
ENGINES: dict[str, str] = {
    "openai": "selfreward_bench.engines.served:open_served",
    "scripted": "selfreward_bench.engines.scripted:open_scripted",
    "transformers": "selfreward_bench.engines.transformers:open_transformers",
    "vllm": "selfreward_bench.engines.vllm:open_vllm",
}
KINDS = Table("engine kind", ENGINES, "srbench.engines")

RENDER_NOTHING = frozenset({"openai", "scripted"})  # a server renders for itself, a script is not rendered


def open_engine(
    config: EngineConfig,
    model: str | Path,
    *,
    threads: int | None = None,
    chat_template: str | None = None,
    cluster: ClusterConfig | None = None,
) -> Engine:
    """Opens the engine ``config.kind`` on a model.

    Args:
        config: kind, device, dtype, batch budget. A kind is a name, not a file.
        model: directory (or hub id) in Hugging Face layout; for ``scripted`` a JSON file, for ``openai`` ``NAME@URL``.
        threads: CPU threads of this process; None leaves them as they are.
        chat_template: what renders messages instead of the model's own template (``templates``); an engine that
            renders nothing itself is not told.
        cluster: has replicas of the engine work, wherever Ray puts them; None has one work, in this process.

    Raises:
        UnknownNameError: there is no such kind.
        PluginError: a package brings it, and it cannot be used.
        EngineError: the model cannot be loaded.
        ConfigError: there is no such template, or it cannot be used with this model.
    """
    from selfreward_bench.engines.processes import end_abandoned

    end_abandoned()  # what a killed srbench left running holds the memory that this model needs
    if cluster is not None:
        from selfreward_bench.engines.replicas import open_replicas

        return open_replicas(config, cluster, model, threads=threads, chat_template=chat_template)
    if config.sharding != "none":
        from selfreward_bench.engines.shared_out import open_shards

        return open_shards(config, model, threads=threads, chat_template=chat_template)
    rendering = {} if chat_template is None or config.kind in RENDER_NOTHING else {"chat_template": chat_template}
    return cast(Engine, KINDS.load(config.kind).value(config, model, threads=threads, **rendering))
