#!/usr/bin/env bash
# Lint, types and tests in .venv. Arguments go to pytest, e.g. `bash scripts/test.sh -m slow`.
source "$(dirname "${BASH_SOURCE[0]}")/environment.sh" test
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
# One process per core; a file stays in one, so that what its tests share is made once.
.venv/bin/python -m pytest -n "${PYTEST_PROCESSES:-2}" --dist loadfile "$@"
