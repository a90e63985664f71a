"""``srbench view``: all runs under a directory as a local page, one in progress as it stands, and each one's report.

``found`` looks for runs, ``board`` arranges them, ``watching`` reads one in progress, ``pages`` makes the HTML,
``server`` hands it out. Nothing is written, and nothing outside the directory is read.
"""
