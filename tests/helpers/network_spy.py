"""Commands as a user starts them, watched for connections to other machines, with all of their children."""

from __future__ import annotations

import ipaddress
import os
import re
import shutil
import socket
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

#: What tells MLflow and others that a test runs, and makes them send nothing by themselves.
_TELLTALES = (
    "CI",
    "DO_NOT_TRACK",
    "GITHUB_ACTIONS",
    "MLFLOW_DISABLE_TELEMETRY",
    "MLFLOW_EXPERIMENT_NAME",
    "MLFLOW_RUN_ID",
    "MLFLOW_TRACKING_URI",
    "PYTEST_CURRENT_TEST",
    "PYTEST_VERSION",
    "PYTEST_XDIST_WORKER",
)
#: Python imports it at the start of every process that has its folder on PYTHONPATH.
_HOOK = """
import os
import sys

def _record(event, arguments):
    if event in ("socket.connect", "socket.sendto", "socket.sendmsg"):
        address = arguments[1]
    elif event in ("socket.getaddrinfo", "socket.gethostbyname"):
        address = arguments[:1]
    else:
        return
    if not isinstance(address, tuple):  # of a socket in the file system
        return
    host = address[0].decode() if isinstance(address[0], bytes) else address[0]
    line = f"{event} {host} {' '.join(sys.argv)[:100]!r}\\n"
    file = os.open(os.environ["NETWORK_SPY"], os.O_WRONLY | os.O_APPEND | os.O_CREAT)
    os.write(file, line.encode(errors="replace"))
    os.close(file)

sys.addaudithook(_record)
"""
_TRACED = re.compile(r'inet_addr\("([^"]+)"\)|inet_pton\(AF_INET6, "([^"]+)"')


class NetworkSpy:
    """Runs commands in a folder and keeps what they opened.

    Python's audit hooks see every socket and every name that Python code looks up; strace, where it may
    trace, also those of compiled libraries.

    Args:
        folder: working directory and home of the commands.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._record, self._traces = folder / "connections.txt", folder / "traces"
        (folder / "hook").mkdir(parents=True)
        self._traces.mkdir()
        (folder / "hook" / "sitecustomize.py").write_text(_HOOK)
        self._strace = _working_strace()

    @property
    def traces(self) -> bool:
        """Whether compiled libraries are watched, too."""
        return self._strace is not None

    def run(self, *words: str | Path) -> str:
        """Run a command to its end.

        Returns:
            What it wrote.
        """
        environment = {name: value for name, value in os.environ.items() if name not in _TELLTALES}
        paths = [str(self.folder / "hook"), os.environ.get("PYTHONPATH", "")]
        environment |= {
            "HOME": str(self.folder),
            "SRCMATTERS_CACHE": str(self.folder / "cache"),
            "PYTHONPATH": os.pathsep.join(filter(None, paths)),
            "NETWORK_SPY": str(self._record),
        }
        command = list(map(str, words))
        if self._strace is not None:
            trace = self._traces / f"{len(list(self._traces.iterdir()))}.txt"
            command = [*self._strace, "-o", str(trace), *command]
        done = subprocess.run(
            command, cwd=self.folder, env=environment, capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, (done.stdout + done.stderr)[-3000:]
        return done.stdout + done.stderr

    def srcmatters(self, *words: str | Path) -> str:
        """Run `srcmatters` to its end."""
        return self.run(sys.executable, "-c", "from srcmatters.cli import main; main()", *words)

    def seen(self) -> list[str]:
        """Everything that a socket was opened to or a name that was looked up, loopback included."""
        return self._record.read_text().splitlines() if self._record.exists() else []

    def outside(self) -> list[str]:
        """Connections to, and look-ups of, other machines."""
        lines = [line for line in self.seen() if _is_elsewhere(line.split(" ")[1])]
        for trace in self._traces.iterdir():
            for line in trace.read_text(errors="replace").splitlines():
                addresses = [one or other for one, other in _TRACED.findall(line)]
                lines += [line for address in addresses if _is_elsewhere(address)]
        return lines


def _is_elsewhere(host: str) -> bool:
    if host in ("None", "", "localhost", socket.gethostname()):
        return False
    try:
        address = ipaddress.ip_address(host.partition("%")[0])
    except ValueError:
        return True
    return not (address.is_loopback or address.is_unspecified)


def _working_strace() -> Sequence[str] | None:
    """The beginning of a command that traces, None where none may be traced."""
    program = shutil.which("strace")
    if program is None:
        return None
    words = [program, "-f", "--seccomp-bpf", "-qq", "-e", "trace=connect,sendto,sendmsg"]
    tried = subprocess.run([*words, "-o", os.devnull, "true"], capture_output=True, check=False)
    return words if tried.returncode == 0 else None
