"""Clinical: what leaves for the hospital, and what talks to it.

Nothing is imported here: the receiver starts without what the export needs, and the other way round.
"""
