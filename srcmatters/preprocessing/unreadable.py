"""What is done about an image that cannot be read, as the bundles' setting ``unreadable`` takes it."""

UNREADABLE = ("fail", "skip")
