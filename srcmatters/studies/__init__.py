"""Studies: a grid of bundle overrides, run cell by cell, resumed where it stopped.

Nothing is imported here: workers import this package before they know how many threads they may use.
"""
