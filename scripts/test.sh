#!/usr/bin/env bash
# Lint, types, import contract and tests in .venv. Arguments go to pytest, e.g. `bash scripts/test.sh -m slow`.
#
#   bash scripts/test.sh --fast     # before a commit, under 2 minutes: lint, types, contract, and tests of laws
fast=false
if [ "${1:-}" = --fast ]; then
    fast=true
    shift
fi
source "$(dirname "${BASH_SOURCE[0]}")/environment.sh" demo,export,lidc,ray,sources,vit "lint types tests"
processes=${PYTEST_PROCESSES:-$(env -u OMP_NUM_THREADS nproc)}  # nproc would say as many as there are threads
export OMP_NUM_THREADS=${OMP_NUM_THREADS:-1}  # two threads an operation stall each other on small machines
# MLflow's databases wait for the disk at every commit, and two processes that do so for each other; memory does not.
if [ "$(df --output=avail /dev/shm 2> /dev/null | tail -n 1)" -gt 4000000 ] 2> /dev/null; then  # KiB
    TMPDIR=$(mktemp -d /dev/shm/XXXXXX)  # short: names of sockets have 107 characters at most
    export TMPDIR
    trap 'rm -rf "$TMPDIR"' EXIT
fi
.venv/bin/ruff check .
.venv/bin/ruff format --check .
.venv/bin/mypy
.venv/bin/lint-imports --no-cache
if [ "$fast" = true ]; then
    # No training, no servers, no browsers: what a change of one line is likeliest to break.
    set -- tests/cohorts tests/evaluation tests/images tests/preprocessing tests/runs tests/test_files.py "$@"
fi
# One process per core; a file stays in one, so that what its tests share is made once.
.venv/bin/python -m pytest -n "$processes" --dist loadfile "$@"
