from . import (
    audit as audit,
    cohorts as cohorts,
    confounders as confounders,
    evaluation as evaluation,
    images as images,
    sources as sources,
)

__version__: str
