"""Puts the bundles into the wheel: they lie beside the package, as MONAI's bundles do, not in it."""

import shutil
from pathlib import Path

from setuptools import setup
from setuptools.command.build_py import build_py


class BuildWithBundles(build_py):
    """Copies bundles/ to srcmatters/bundles/ of what is built; an editable install finds the checkout's."""

    def run(self) -> None:
        """Build the package, then add the bundles."""
        super().run()
        if not self.editable_mode:
            target = Path(self.build_lib) / "srcmatters" / "bundles"
            shutil.rmtree(target, ignore_errors=True)
            shutil.copytree("bundles", target, ignore=shutil.ignore_patterns("__pycache__", "models", "*.pt"))


setup(cmdclass={"build_py": BuildWithBundles})
