# Makes .venv in the repository root if need be and installs srcmatters with the extras in $1.
# Sourced by demo.sh and test.sh; every install is pinned by constraints.txt, without which torch becomes a
# CUDA build of several gigabytes.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
python=${PYTHON:-python3}
[ -x .venv/bin/python ] || "$python" -m venv .venv
stamp=".venv/installed-$1"
if [ ! -e "$stamp" ] || [ pyproject.toml -nt "$stamp" ] || [ constraints.txt -nt "$stamp" ]; then
    echo "installing srcmatters[$1] into .venv (some minutes the first time) ..."
    .venv/bin/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e ".[$1]"
    touch "$stamp"
fi
