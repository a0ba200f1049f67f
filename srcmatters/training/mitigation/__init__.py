"""Arms against a confounder: one file each, which says what it computes and what it needs to know."""
