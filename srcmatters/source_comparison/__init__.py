"""Source comparison: how alike sources are, layer by layer, on images of the target."""
