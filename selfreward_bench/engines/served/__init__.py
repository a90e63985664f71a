"""The ``openai`` engine: any OpenAI-compatible server, its answers stored, replayed, and paid for within a budget.

``engine`` is the engine; calls are in ``client``, what may be said and heard in ``protocol``.
"""

from selfreward_bench.engines.served.engine import Limits, ServedEngine, open_served, parse_spec

__all__ = ["Limits", "ServedEngine", "open_served", "parse_spec"]
