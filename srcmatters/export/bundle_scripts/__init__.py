"""Modules that an exported bundle carries in its ``scripts`` folder; they import nothing of this package."""
