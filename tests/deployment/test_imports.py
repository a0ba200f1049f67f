"""What runs in a hospital loads nothing that trains, reports or studies."""

from __future__ import annotations

import subprocess
import sys

_PROGRAM = """
import importlib, pkgutil, sys
import srcmatters.deployment as deployment
for module in pkgutil.walk_packages(deployment.__path__, "srcmatters.deployment."):
    importlib.import_module(module.name)
print(*(name for name in sys.modules if name.startswith("srcmatters.")))
"""
#: Rooms of the package that deployment is independent of.
_FORBIDDEN = {
    "audit",
    "confounders",
    "export",
    "phantom",
    "reports",
    "runs",
    "source_comparison",
    "studies",
    "training",
}


def test_all_of_deployment_loads_no_room_that_trains_reports_or_studies() -> None:
    done = subprocess.run([sys.executable, "-c", _PROGRAM], capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    loaded = done.stdout.split()
    assert {"srcmatters.deployment.predict_command", "srcmatters.deployment.receiver.server"} <= set(loaded)
    assert not [name for name in loaded if name.split(".")[1] in _FORBIDDEN]
    assert not [name for name in loaded if name.startswith("srcmatters.evaluation")]
