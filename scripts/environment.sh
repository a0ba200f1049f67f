# Makes .venv in the repository root if need be and installs srcmatters with the extras in $1 (comma-separated) and
# the dependency groups in $2 (words). Sourced by demo.sh and test.sh; every install is pinned by constraints.txt,
# without which torch becomes a CUDA build of several gigabytes.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
python=${PYTHON:-python3}
extras=$1
read -ra groups <<< "${2:-}"
[ -x .venv/bin/python ] || "$python" -m venv .venv
stamp=".venv/installed-$(tr ', ' '--' <<< "$extras ${groups[*]}")"
if [ ! -e "$stamp" ] || [ pyproject.toml -nt "$stamp" ] || [ constraints.txt -nt "$stamp" ]; then
    echo "installing srcmatters[$extras] ${groups[*]} into .venv (some minutes the first time) ..."
    pip=(.venv/bin/python -m pip install --quiet --disable-pip-version-check -c constraints.txt)
    "${pip[@]}" "pip>=25.1"  # older ones know no dependency groups
    "${pip[@]}" -e ".[$extras]" "${groups[@]/#/--group=}"
    touch "$stamp"
fi
