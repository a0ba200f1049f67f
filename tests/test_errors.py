"""A user's mistake is one line, whatever it was wrapped in; everything else keeps its traceback."""

from __future__ import annotations

import subprocess
import sys
import textwrap

import pytest
from IPython.core.interactiveshell import InteractiveShell

from srcmatters.errors import InputError, did_you_mean, find_input_error


def wrapped(mistake: BaseException, how: str) -> BaseException:
    """The error that reaches the top when ``mistake`` was raised at the bottom."""
    try:
        try:
            raise mistake
        except BaseException as error:
            if how == "from":
                raise RuntimeError("Failed to instantiate") from error
            if how == "while handling":
                raise KeyError("cleaning up")  # noqa: B904
            if how == "twice":
                try:
                    raise RuntimeError("component") from error
                except RuntimeError as middle:
                    raise RuntimeError("config") from middle
            raise
    except BaseException as error:
        return error


@pytest.mark.parametrize("how", ["bare", "from", "twice"])
def test_a_mistake_is_found_through_what_it_was_wrapped_in(how: str) -> None:
    mistake = InputError("fold: got 9")
    assert find_input_error(wrapped(mistake, how)) is mistake


def test_a_bug_while_a_mistake_is_handled_stays_a_bug() -> None:
    assert find_input_error(wrapped(InputError("fold: got 9"), "while handling")) is None


@pytest.mark.parametrize("how", ["bare", "from", "while handling", "twice"])
def test_an_error_of_ours_is_nobodys_mistake(how: str) -> None:
    """A plain ValueError included, although a mistake is one."""
    assert find_input_error(wrapped(ValueError("shapes differ"), how)) is None


def test_of_two_mistakes_the_first_is_the_cause() -> None:
    inner, outer = InputError("no such file"), InputError("source cannot be read")
    outer.__cause__ = inner
    assert find_input_error(RuntimeError()) is None
    assert find_input_error(outer) is inner


def test_a_chain_that_runs_in_a_circle_ends() -> None:
    one, other = RuntimeError("one"), RuntimeError("other")
    one.__cause__, other.__cause__ = other, one
    assert find_input_error(one) is None


def test_a_mistake_is_a_value_error() -> None:
    with pytest.raises(ValueError, match=r"^fold$"):
        raise InputError("fold")


# As a program


def program(body: str) -> subprocess.CompletedProcess[str]:
    lines = ["from srcmatters.errors import InputError, one_line_errors", textwrap.dedent(body)]
    return subprocess.run([sys.executable, "-c", "\n".join(lines)], capture_output=True, text=True)


MISTAKE = """
def read():
    raise InputError("cases.csv, row 3: got 2, expected 0 or 1")
def build():
    try:
        read()
    except Exception as error:
        raise RuntimeError("Failed to instantiate '_target_'") from error
"""


@pytest.mark.parametrize("times", [1, 2])
@pytest.mark.parametrize("call", ["read()", "build()"])
def test_a_program_ends_with_one_line_and_status_1(times: int, call: str) -> None:
    done = program(MISTAKE + "one_line_errors()\n" * times + call)
    assert done.stderr == "error: cases.csv, row 3: got 2, expected 0 or 1\n"
    assert done.stdout == ""
    assert done.returncode == 1


def test_without_the_hook_the_traceback_is_there() -> None:
    done = program(MISTAKE + "build()")
    assert done.stderr.count("Traceback") == 2


def test_other_errors_keep_their_traceback() -> None:
    done = program("def deep():\n    raise KeyError('weights')\none_line_errors()\ndeep()")
    assert "Traceback" in done.stderr
    assert "in deep" in done.stderr
    assert done.stderr.endswith("KeyError: 'weights'\n")
    assert done.returncode == 1


def test_an_interruption_is_neither_a_mistake_nor_a_traceback() -> None:
    done = program(MISTAKE + "one_line_errors()\ntry:\n    build()\nfinally:\n    raise KeyboardInterrupt")
    assert done.stderr == "interrupted\n"
    assert done.returncode != 0


def test_a_hook_that_was_there_before_still_gets_other_errors() -> None:
    done = program(
        """
        import sys
        sys.excepthook = lambda *error: print("seen", error[0].__name__)
        one_line_errors()
        raise KeyError
        """
    )
    assert done.stdout == "seen KeyError\n"


# Suggestions


@pytest.mark.parametrize(
    ("word", "end"),
    [
        ("resnet81", ": did you mean 'resnet18' or 'resnet50'?"),
        ("pacemakr", ": did you mean 'pacemaker'?"),
        ("zzz", ", expected one of: resnet18, resnet50, pacemaker"),
        ("", ", expected one of: resnet18, resnet50, pacemaker"),
    ],
)
def test_the_nearest_names_are_suggested_or_else_all(word: str, end: str) -> None:
    known = ["resnet18", "resnet50", "pacemaker"]
    assert did_you_mean(word, known) == end
    assert did_you_mean(word, iter(known)) == end


@pytest.mark.parametrize("wrap", ["{}", "Compose([lambda image: {}])(0)"], ids=["bare", "in Compose"])
def test_a_mistake_in_a_notebook_is_one_line_and_a_bug_is_not(
    wrap: str, capsys: pytest.CaptureFixture[str]
) -> None:
    shell = InteractiveShell.instance(colors="nocolor")
    try:
        shell.run_cell(
            "import srcmatters.errors as e; from monai.transforms import Compose; e.one_line_errors()"
        )
        shell.run_cell("def raises(error): raise error")
        capsys.readouterr()
        mistake = shell.run_cell(wrap.format("raises(e.InputError('fold: got 9'))"))
        line = capsys.readouterr().out
        bug = shell.run_cell(wrap.format("raises(KeyError('x'))"))
        traceback = capsys.readouterr().out
    finally:
        InteractiveShell.clear_instance()
    assert line.splitlines() == ["InputError: fold: got 9"]
    assert mistake.error_in_exec is not None
    assert bug.error_in_exec is not None
    assert len(traceback.splitlines()) > 5
