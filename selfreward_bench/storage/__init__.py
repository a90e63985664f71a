"""Files: whole or not at all, JSONL, locks, run directories, fingerprints, and stored answers of servers.

Its modules are used by their names: recipes and records lie between them.
"""
