"""The ``vllm`` engine: a vLLM server for each checkpoint, or servers that are there (docs/vllm.md).

``engine`` renders, plans and reads back, ``client`` speaks to servers, ``process`` starts one and ends it, whatever
becomes of srbench. vLLM itself is never imported: it needs other versions of torch and transformers.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from selfreward_bench.config import EngineConfig

if TYPE_CHECKING:
    from selfreward_bench.engines.vllm.engine import VllmEngine

__all__ = ["open_vllm"]


def open_vllm(
    config: EngineConfig, model: str | Path, *, threads: int | None = None, chat_template: str | None = None
) -> VllmEngine:
    """Starts a server on a model, or finds those that serve it; see ``selfreward_bench.engines.open_engine``.

    Args:
        threads: of this process, which computes nothing here.
    """
    from selfreward_bench.engines.vllm.engine import VllmEngine

    return VllmEngine(config, model, chat_template)
