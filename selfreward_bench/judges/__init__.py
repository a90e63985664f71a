"""Judges: a prompt (YAML), an engine that answers it, and a parser that reads nothing but what the judge generated."""
