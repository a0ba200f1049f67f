#!/usr/bin/env bash
# What a GPU does for this project, in at most eight minutes:
#
#     scripts/benchmarks/gpu.sh OUT [--dataset_dir DIR] [--seconds 480]
#     scripts/benchmarks/gpu.sh OUT --dry-run          # the same steps on the CPU, tiny: a minute, no figure means anything
#
# OUT/gpu.md and OUT/gpu.json are written after every step, so that what was measured is there whatever ends the script.
set -euo pipefail
cd "$(dirname "$0")/../.."
export OMP_NUM_THREADS="${OMP_NUM_THREADS:-1}"
exec "${PYTHON:-python}" scripts/benchmarks/gpu.py "$@"
