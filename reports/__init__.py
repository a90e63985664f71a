"""Comparative reports: facts read from a run's files, as one HTML page and as terminal tables."""
