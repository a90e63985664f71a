"""Bases: what is to be known of a model before anything is trained or paid for. Files only; nothing is computed."""
