"""The output folder of a run: under a final name there is a finished file or none."""

from __future__ import annotations

import errno
import hashlib
import json
import os
import secrets
import shutil
import weakref
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
    axes += [f"p{settings['p_art']}", *([f"n{settings['p_neg']}"] if settings.get("p_neg") else [])]
    axes += [str(settings["mitigation"])] if settings.get("mitigation", "none") != "none" else []
    axes += [f"fold{settings['fold']}", f"seed{settings['seed']}"]
    digest = hashlib.sha256(json.dumps(settings, sort_keys=True, default=str).encode()).hexdigest()[:6]
    return Path("mlruns") / "outputs" / Path(bundle).name / "-".join([*axes, digest])


class Results:
    """Files are written into a hidden folder and moved out of it when the run is complete.

    Args:
        output_dir: where the files of the run end up; created if need be.

    Attributes:
        working: the hidden folder.
        collecting: whether a transaction is going on.

    Raises:
        InputError: ``output_dir`` cannot be written.
    """

    def __init__(self, output_dir: str | Path) -> None:
        self.output_dir = Path(output_dir)
        # Two workflows of one process may share the output folder.
        self.working = self.output_dir / f"{unfinished_name()}-{secrets.token_hex(3)}"
        try:
            self.working.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise InputError(f"output_dir: {self.output_dir} cannot be written ({error.strerror})") from error
        self.collecting = False
        self.discard()
        # What a trainer writes that nobody ran to its end is removed when the process ends.
        self._rest = weakref.finalize(self, _remove_rest, self.working, os.getpid())

    def check_same(self, expected: Mapping[str, Any]) -> None:
        """Refuse to replace a finished run by another one.

        Args:
            expected: fields of ``metrics.json`` that a repetition has in common with the run, as JSON has
                them; ``settings`` is a mapping of which the fields of both are compared.

        Raises:
            InputError: naming the first field that differs.
        """
        path = self.output_dir / METRICS
        if not path.is_file():
            return
        try:
            record = json.loads(path.read_text())
            there = {**record, **record["settings"]}
        except (OSError, ValueError, KeyError, TypeError):
            raise InputError(
                f"output_dir: {path} is there and is not the record of a run; expected another folder, or"
                " --overwrite true"
            ) from None
        fields = {**expected, **expected["settings"]}
        del fields["settings"]
        for name, value in fields.items():
            if name in there and there[name] != value:
                what = "other images or labels" if name == "dataset_sha256" else f"{name} {there[name]!r}"
                instead = "" if name == "dataset_sha256" else f", this one has {value!r}"
                raise InputError(
                    f"output_dir: a finished run with {what} is in {self.output_dir}{instead}; expected"
                    " another folder, or --overwrite true"
                )

    @contextmanager
    def transaction(self) -> Iterator[Path]:
        """Give a folder to write into; its files get their final place only if nothing is raised.

        Raises:
            InputError: the disk is full.
        """
        self.output_dir.mkdir(parents=True, exist_ok=True)
        remove_abandoned(self.output_dir)
        self.working.mkdir(parents=True, exist_ok=True)
        self.collecting = True
        try:
            yield self.working
            self._move()
        except OSError as error:
            if error.errno not in (errno.ENOSPC, errno.EDQUOT):
                raise
            raise InputError(f"output_dir: no space left for {self.output_dir}") from error
        finally:
            self.collecting = False
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
        for folder in (self.working.parent, self.output_dir):
            with suppress(OSError):  # not empty, or another process was faster
                folder.rmdir()


def _remove_rest(working: Path, process: int) -> None:
    if os.getpid() == process:  # a forked worker ends before the run does
        shutil.rmtree(working, ignore_errors=True)
        with suppress(OSError):
            working.parent.rmdir()
