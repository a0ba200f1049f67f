"""srcmatters: does your classifier look at the disease, or at what came with it?

Fine-tunes a network from different pre-training sources under a controlled confounder and
measures how much of its score is the disease and how much the confounder.
"""

__version__ = "0.1.0"
