"""The questions of the audit, one class a file; a new one is a class, a line below, and a test."""

from srcmatters.audit.check import Check
from srcmatters.audit.checks.attributes import Attributes
from srcmatters.audit.checks.clean_performance import CleanPerformance
from srcmatters.audit.checks.effect import Effect
from srcmatters.audit.checks.ladder import LadderCheck
from srcmatters.audit.checks.origin import Origin
from srcmatters.audit.checks.overlap import Overlap
from srcmatters.audit.checks.perturbations import Perturbations
from srcmatters.audit.checks.refitted_head import RefittedHead
from srcmatters.audit.checks.refusals import Refusals
from srcmatters.audit.checks.regions import Regions
from srcmatters.audit.checks.sensitivity import Sensitivity
from srcmatters.audit.checks.sham import Sham
from srcmatters.audit.checks.text_in_images import TextInImages

#: In the order of the page.
CHECKS: tuple[type[Check], ...] = (
    CleanPerformance,
    Sensitivity,
    Effect,
    Origin,
    Sham,
    Perturbations,
    RefittedHead,
    Attributes,
    LadderCheck,
    Regions,
    TextInImages,
    Overlap,
    Refusals,
)
