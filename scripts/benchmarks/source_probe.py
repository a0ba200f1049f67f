"""Which source knows a target before anything is fine-tuned? Clean AUC of linear probes, and differences.

OMP_NUM_THREADS=1 python scripts/benchmarks/source_probe.py --radiographs DIR --nodules DIR \\
    --source mlruns/sources/radiology2 --source imagenet --source random --json FILE

Frozen features (EfficientNet-Lite0, 224 px; of a nodule those of its middle slice), the probe of
:func:`srcmatters.evaluation.linear_probe.linear_probe`: five folds by patient, intervals over patients.
Differences are paired: the first source minus each other one.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import pandas as pd
from attribute_bias import features_of

from srcmatters.audit.case_images import CaseImages
from srcmatters.cohorts import read_cases
from srcmatters.evaluation.linear_probe import LinearProbe, linear_probe, probe_difference
from srcmatters.training import source_name


def probes(images: CaseImages, cases: pd.DataFrame, sources: list[str]) -> dict[str, LinearProbe]:
    """By name of the source."""
    labels, patients = cases["label"].to_numpy(), cases["patient_id"].astype(str).tolist()
    return {source_name(one): linear_probe(features_of(images, one), labels, patients) for one in sources}


def main() -> None:
    """Print AUCs and differences by target."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--radiographs", type=Path, help="folder with a case table of radiographs")
    parser.add_argument("--nodules", type=Path, help="folder with a case table of 8-bit volumes")
    parser.add_argument("--source", action="append", required=True, help="see `srcmatters sources list`")
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    flat: dict[str, float] = {}
    for target, arguments in (("radiographs", ()), ("nodules", ("ct", "display"))):
        if (folder := getattr(options, target)) is None:
            continue
        cases = read_cases(folder)
        measured = probes(CaseImages(cases, *arguments), cases, options.source)
        first = next(iter(measured))
        print(f"{target}: {len(cases)} images of {cases['patient_id'].nunique()} patients")
        for name, probe in measured.items():
            line = f"  {name:12} {probe.auc:.3f} [{probe.low:.3f}, {probe.high:.3f}]"
            flat |= {f"{target}: {name}": probe.auc}
            if name != first:
                apart = probe_difference(measured[first], probe)
                line += f"   {first} - {name} {apart.auc:+.3f} [{apart.low:+.3f}, {apart.high:+.3f}]"
                flat |= {f"{target}: {first} - {name}": apart.auc}
            print(line, flush=True)
    if options.json:
        options.json.write_text(json.dumps(flat) + "\n")


if __name__ == "__main__":
    main()
