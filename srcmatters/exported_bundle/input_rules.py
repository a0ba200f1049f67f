"""What may be wrong with an image, and what is done about it: it is refused, flagged, or nothing is said."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from srcmatters.errors import InputError, did_you_mean

#: A rule that an image breaks, by its name, and what was found and expected, in one line.
Finding = tuple[str, str]
_ALWAYS = ("refuse",)  # no answer to such an image can be right
_REFUSED = ("refuse", "flag")
_FLAGGED = ("flag", "refuse")
_LACKING = ("flag", "refuse", "ignore")  # devices that never write it would have all of their images flagged


@dataclass(frozen=True)
class InputRule:
    """A rule for images that are read.

    Args:
        about: which images break it.
        actions: what may be done with these, the default first; a single one is not for a bundle to choose.
    """

    about: str
    actions: tuple[str, ...]


#: Every rule by the name that it has in ``configs/clinical.json``.
INPUT_RULES = {
    "unreadable": InputRule(
        "not readable; missing or doubled positions of slices as `load_ct` says; above 2^25 pixels, 2^27"
        " voxels, 1 GiB of memory, or 4 s of processor time, 0.4 s more per further file of a series and"
        " 0.5 s more per MiB, 60 s at most; a process that waits for processor or disk may last five times as"
        " long",
        _ALWAYS,
    ),
    "modality": InputRule("another one, or none", _ALWAYS),
    "species": InputRule("an animal, as the header says", _ALWAYS),
    "colour": InputRule("photometric interpretation other than MONOCHROME1 and MONOCHROME2", _ALWAYS),
    "mixed_series": InputRule("several patients or studies in one series", _ALWAYS),
    "frames": InputRule("several frames of a radiograph; several frames of reference of a CT", _ALWAYS),
    "no_slices": InputRule("localizers of a CT alone; captures of a screen", _ALWAYS),
    "answer": InputRule("the network's answer is not a number", _ALWAYS),
    "body_part": InputRule("another one, in any slice of a series", _REFUSED),
    "view": InputRule("another one; a lateral PatientOrientation", _REFUSED),
    "for_processing": InputRule("values of a detector that were not made for people", _REFUSED),
    "spacing": InputRule("more than 10 % outside of the training's range", _REFUSED),
    "size": InputRule(
        "below half of the smallest or above eight times the largest of the training; where a box of some mm"
        " is cut out of the middle, above the largest",
        _FLAGGED,
    ),
    "secondary_ct": InputRule("a CT that was computed of other images (ImageType SECONDARY)", _FLAGGED),
    "thin_ct": InputRule(
        "a CT thinner than half of the box that is read, and than every volume of the training", _FLAGGED
    ),
    "loader": InputRule(
        "what the loader warns of: the same slice twice, RescaleType US, a picture almost black", _FLAGGED
    ),
    "burnt_in_annotation": InputRule("BurnedInAnnotation YES", _FLAGGED),
    "burnt_in_text": InputRule("lines of text found in the pixels of a radiograph", _FLAGGED),
    "out_of_distribution": InputRule(
        "mean activations of all stages of the network, Mahalanobis distance above that of 99 % of the"
        " validation images",
        _FLAGGED,
    ),
    "confounder": InputRule(
        "the audited confounder's probe sees it (one false alarm in a hundred)", _FLAGGED
    ),
    "header_missing": InputRule("no DICOM header at all", _LACKING),
    "body_part_missing": InputRule("none is named, where the bundle declares one", _LACKING),
    "view_missing": InputRule("none is named, where the bundle declares some", _LACKING),
    "middle_of_ct": InputRule(
        "of a CT the middle is read, where the training looked at given positions (`x_mm`, `y_mm`, `z_mm`)",
        _LACKING,
    ),
    "spacing_unknown": InputRule("no file says it, where the training's range is known", _LACKING),
}
#: The rules that a bundle may decide, and what each may be.
CHOICES = {name: rule.actions for name, rule in INPUT_RULES.items() if len(rule.actions) > 1}


def declared_actions(declared: Mapping[str, str]) -> dict[str, str]:
    """What a bundle declares: an action for every rule that it may decide.

    Args:
        declared: actions by rule; the others keep their default.

    Raises:
        InputError: an unknown rule, one that nobody may decide, or an action that the rule does not have.
    """
    for name, action in declared.items():
        if name not in INPUT_RULES:
            raise InputError(f"--rule: {name!r} is unknown{did_you_mean(name, CHOICES)}")
        if name not in CHOICES:
            raise InputError(f"--rule: {name}: such images are always refused, expected another rule")
        if action not in CHOICES[name]:
            raise InputError(f"--rule: {name}: got {action!r}, expected {' or '.join(CHOICES[name])}")
    return {name: declared.get(name, actions[0]) for name, actions in CHOICES.items()}
