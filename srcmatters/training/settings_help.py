"""What ``--help`` after ``training`` prints: the settings of a bundle, in the words of its configuration."""

from __future__ import annotations

import re
from pathlib import Path

_SETTING = re.compile(r"^(?P<name>\w+): (?P<value>.*?)(?:\s+# (?P<comment>.*))?$")
_HEADING = re.compile(r"^# -+ (?P<title>.+?) -+$")
_USAGE = "Settings, each with its default: --NAME VALUE, or --NAME=VALUE. A `$` expression is computed."
_WIDTH = 34  # of name and default; longer ones push their comment to the next line


def settings_help(config: Path) -> str:
    """The settings that a configuration file offers: everything above its ``imports``.

    Args:
        config: YAML file of a bundle; its comments say what a setting does.
    """
    lines = [_USAGE]
    for line in config.read_text(encoding="utf-8").splitlines():
        if line.startswith("imports:"):
            break
        heading, setting = _HEADING.match(line), _SETTING.match(line)
        if heading is not None:
            lines += ["", heading["title"]]
        elif setting is not None:
            left = f"  --{setting['name']} {setting['value']}"
            comment = setting["comment"] or ""
            if len(left) > _WIDTH and comment:
                lines += [left, f"{'':{_WIDTH}}  {comment}"]
            else:
                lines.append(f"{left:{_WIDTH}}  {comment}".rstrip())
    return "\n".join(lines)
