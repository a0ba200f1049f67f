"""What the documentation promises is there: links, commands, options, versions; and the README is short."""

from __future__ import annotations

import json
import re
import shlex
from pathlib import Path

import click
import pytest
import yaml
from click.testing import CliRunner

import srcmatters
from srcmatters.cli import command

ROOT = Path(__file__).resolve().parents[1]
PAGES = [
    *ROOT.glob("*.md"),
    *(ROOT / "docs").rglob("*.md"),
    *(ROOT / "bundles").glob("*/docs/README.md"),
]
_LINK = re.compile(r"\[[^\]]*\]\(([^)\s]+)\)")
_FENCE = re.compile(r"^```\w*\n(.*?)^```", re.MULTILINE | re.DOTALL)
#: Commands that take any setting of a bundle beside their own options.
_ANY_SETTING = ("study",)


def anchors(page: Path) -> set[str]:
    titles = re.findall(r"^#+ (.+)$", page.read_text(), flags=re.MULTILINE)
    plain = (re.sub(r"[^\w\- ]", "", title.lower()).strip().replace(" ", "-") for title in titles)
    return set(plain)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_every_link_leads_somewhere(page: Path) -> None:
    for link in _LINK.findall(page.read_text()):
        if link.startswith(("http://", "https://", "mailto:")):
            continue
        name, _, anchor = link.partition("#")
        target = (page.parent / name).resolve() if name else page
        assert target.exists(), f"{page.name}: {link}"
        if anchor and target.suffix == ".md":
            assert anchor in anchors(target), f"{page.name}: {link}"


def commands(page: Path) -> list[str]:
    """The lines of a page's blocks that call srcmatters, continued lines joined."""
    text = "\n".join(_FENCE.findall(page.read_text())).replace("\\\n", " ")
    lines = (line.strip() for line in text.splitlines())
    return [line for line in lines if line.startswith("srcmatters ")]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_every_command_and_option_exists(page: Path) -> None:
    for line in commands(page):
        words = shlex.split(line.split(" | ")[0], comments=True)[1:]
        context, subcommand = click.Context(command), command
        path = []
        while isinstance(subcommand, click.Group) and words and not words[0].startswith("-"):
            path.append(words.pop(0))
            inner = subcommand.get_command(context, path[-1])
            assert inner is not None, f"{page.name}: {line}"
            subcommand = inner
        if path and path[0] in _ANY_SETTING:
            continue
        known = {
            name for parameter in subcommand.params for name in (*parameter.opts, *parameter.secondary_opts)
        }
        for word in words:
            if word.startswith("--"):
                assert word.split("=")[0] in known | {"--help"}, f"{page.name}: {line}"


def all_options(group: click.Command, context: click.Context) -> list[str]:
    """Every option of a command and of those below it."""
    if isinstance(group, click.Group):
        inner = [group.get_command(context, name) for name in group.list_commands(context)]
        return [name for one in inner if one is not None for name in all_options(one, context)]
    return [name for parameter in group.params for name in parameter.opts if name.startswith("--")]


def test_the_synthetic_chest_that_a_guide_opens_is_one_of_its_cohort(tmp_path: Path) -> None:
    named = {
        name
        for page in PAGES
        for name in re.findall(r"\bchests/(\S+\.png)", page.read_text(encoding="utf-8"))
    }
    CliRunner().invoke(command, ["cohorts", "phantom", str(tmp_path / "chests"), "--patients", "2"])
    assert named and all((tmp_path / "chests" / name).is_file() for name in named), named


def test_an_option_has_one_spelling_in_the_help_of_all_commands() -> None:
    names = set(all_options(command, click.Context(command)))
    assert len({name.replace("_", "-") for name in names}) == len(names)


@pytest.mark.parametrize("spelling", ["--image_size", "--image-size"])
def test_either_spelling_of_an_option_is_taken(spelling: str, tmp_path: Path) -> None:
    words = ["cohorts", "phantom", str(tmp_path / "chests"), "--patients", "1", spelling, "32"]
    assert CliRunner().invoke(command, words).exit_code == 0
    words = ["study", "plan", "xray_classification/demo", spelling, "32", "--dataset-dir", "nowhere"]
    done = CliRunner().invoke(command, words)
    assert "nowhere" in str(done.exception)


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_the_shell_completes_commands(shell: str) -> None:
    done = CliRunner(env={"_SRCMATTERS_COMPLETE": f"{shell}_source"}).invoke(
        command, [], prog_name="srcmatters", complete_var="_SRCMATTERS_COMPLETE"
    )
    assert "srcmatters" in done.output and "complete" in done.output


def test_the_readme_is_short() -> None:
    assert len((ROOT / "README.md").read_text().split()) <= 1200


def test_one_version_everywhere() -> None:
    version = srcmatters.__version__
    assert re.search(r"^## (\S+) ", (ROOT / "CHANGELOG.md").read_text(), re.MULTILINE)[1] == version
    assert yaml.safe_load((ROOT / "CITATION.cff").read_text())["version"] == version
    for path in (ROOT / "bundles").glob("*/configs/metadata.json"):
        metadata = json.loads(path.read_text())
        assert metadata["version"] == version == metadata["required_packages_version"]["srcmatters"]
        assert version in metadata["changelog"]
