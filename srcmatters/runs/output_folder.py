"""The output folder of a run: under a final name there is a finished file or none."""

from __future__ import annotations

import errno
import hashlib
import json
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from srcmatters.errors import InputError
from srcmatters.files import remove_abandoned, unfinished_name
from srcmatters.runs.file_names import METRICS


def default_output_dir(bundle: str | Path, settings: Mapping[str, Any]) -> Path:
    """A folder below ``mlruns/outputs/BUNDLE`` that names the axes of the run and hashes all settings.

    The same settings have the same folder, so a repeated run replaces itself and nothing else.
    """
    axes = [str(settings[name]) for name in ("target", "network", "confounder", "source")]
    axes += [f"p{settings['p_art']}", f"fold{settings['fold']}", f"seed{settings['seed']}"]
    digest = hashlib.sha256(json.dumps(settings, sort_keys=True, default=str).encode()).hexdigest()[:6]
    return Path("mlruns") / "outputs" / Path(bundle).name / "-".join([*axes, digest])


class Results:
    """Files are written into a hidden folder and moved out of it when the run is complete.

    Args:
        output_dir: where the files of the run end up; created if need be.

    Raises:
        InputError: ``output_dir`` cannot be written.
    """

    def __init__(self, output_dir: str | Path) -> None:
        self.output_dir = Path(output_dir)
        self.working = self.output_dir / unfinished_name()
        try:
            self.working.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise InputError(f"output_dir: {self.output_dir} cannot be written ({error.strerror})") from error
        self.discard()

    @contextmanager
    def transaction(self) -> Iterator[Path]:
        """Give a folder to write into; its files get their final place only if nothing is raised.

        Raises:
            InputError: the disk is full.
        """
        remove_abandoned(self.output_dir)
        self.working.mkdir(parents=True, exist_ok=True)
        try:
            yield self.working
            self._move()
        except OSError as error:
            if error.errno not in (errno.ENOSPC, errno.EDQUOT):
                raise
            raise InputError(f"output_dir: no space left for {self.output_dir}") from error
        finally:
            self.discard()

    def _move(self) -> None:
        """Killed on the way, this leaves no record; a repetition must not look complete with the old one."""
        paths = sorted(self.working.iterdir(), key=lambda path: (path.name == METRICS, path.name))
        if paths and paths[-1].name == METRICS:
            (self.output_dir / METRICS).unlink(missing_ok=True)
        for path in paths:
            target = self.output_dir / path.name
            if target.is_dir():
                shutil.rmtree(target)
            path.replace(target)

    def discard(self) -> None:
        """Remove what is unfinished, and the output folder if it is empty."""
        shutil.rmtree(self.working, ignore_errors=True)
        with suppress(OSError):  # not empty, or another process was faster
            self.output_dir.rmdir()
