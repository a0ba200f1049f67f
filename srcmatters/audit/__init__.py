"""Questions to a finished model, whoever trained it."""
