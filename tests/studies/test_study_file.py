"""A study file is checked at the door, and a cell's name says what it is."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import yaml

from srcmatters.errors import InputError
from srcmatters.studies.cells import bundle_config, count_trainings, expand, task_of
from srcmatters.studies.schema import AXES, STUDY_SCHEMA
from srcmatters.studies.study_file import Study, read_study, with_options

Make = Callable[..., Study]
STUDIES = Path(__file__).parents[2] / "bundles" / "xray_classification" / "studies"


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"axis": {}}, "axis is unknown: did you mean 'axes'"),
        ({"axes": {"sources": ["a"]}}, "axes.sources is unknown: did you mean 'source'"),
        ({"axes": {"p_art": [0, 1.5]}}, "axes.p_art.1: 1.5 is greater than the maximum of 1"),
        ({"axes": {"fold": [-1]}}, "axes.fold.0: -1 is less than the minimum of 0"),
        ({"axes": {"fold": []}}, "axes.fold: [] should be non-empty"),
        ({"axes": {"source": ["a", "a"]}}, "axes.source: 'a' is there twice"),
        ({"axes": {"source": [{"name": "a", "args": {}}]}}, "'a' has args, which only a confounder takes"),
        ({"depth": "fine"}, "depth: got 'fine': did you mean 'finetune'"),
        ({"protocol": "papr"}, "protocol: got 'papr': did you mean 'paper'"),
        (
            {"controls": ["shuffled_label"]},
            "controls.0: got 'shuffled_label': did you mean 'shuffled_labels'",
        ),
        ({"bundle": "/nowhere"}, "bundle: /nowhere holds no configs/train.yaml"),
        ({"name": "../up"}, "name: got '../up', expected letters, digits"),
        ({"depth": "screen"}, "the bundle has no screen.yaml"),
        ({"retries": -1}, "retries: -1 is less than the minimum of 0"),
    ],
)
def test_a_mistake_names_the_file_and_the_field(
    study_file: Callable[..., Path], fields: dict, message: str
) -> None:
    with pytest.raises(InputError) as caught:
        read_study(study_file(**fields))
    assert str(caught.value).startswith(str(study_file(**fields))) and message in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("content", ["a: [", "just text", "- a\n- b", ""])
def test_what_is_no_study_file_is_refused(tmp_path: Path, content: str) -> None:
    (tmp_path / "study.yaml").write_text(content)
    with pytest.raises(InputError, match=r"study.yaml: "):
        read_study(tmp_path / "study.yaml")
    with pytest.raises(InputError, match=r"none.yaml: cannot be read"):
        read_study(tmp_path / "none.yaml")


@pytest.mark.parametrize(
    ("more", "message"),
    [("name: other\n", "name is there twice"), ("axes: {}\n", "axes is there twice")],
)
def test_a_key_that_is_there_twice_is_refused(
    tiny_study: Make, tmp_path: Path, more: str, message: str
) -> None:
    tiny_study()
    path = tmp_path / "study-file.yaml"
    path.write_text(path.read_text() + more)
    with pytest.raises(InputError, match=message):
        read_study(path)


def test_a_study_without_axes_is_refused(tiny_study: Make) -> None:
    with pytest.raises(InputError, match="axes"):
        tiny_study(axes={})


def test_an_override_that_the_bundle_does_not_have_is_refused(tiny_study: Make) -> None:
    with pytest.raises(InputError, match=r"overrides: tiny_bundle has no 'dealy': did you mean 'delay'"):
        expand(tiny_study(overrides={"dealy": 1}))
    with pytest.raises(InputError, match=r"axes.source, a: tiny_bundle has no 'x'"):
        expand(tiny_study(axes={"source": [{"name": "a", "overrides": {"x": 1}}]}))
    expand(tiny_study(overrides={"settings::extra": 1}))


def test_the_grid_is_every_combination_once(tiny_study: Make) -> None:
    cells = expand(tiny_study())
    points = {(cell.axes["source"], cell.axes["p_art"], cell.axes["fold"]) for cell in cells}
    assert len(cells) == len(points) == len({cell.cell_id for cell in cells}) == 12


def test_early_cells_compare_sources_at_the_extremes(tiny_study: Make) -> None:
    axes = {"source": ["a", "b", "c"], "confounder": ["tag", "noise"], "p_art": [0, 0.5, 1], "fold": [0, 1]}
    order = [
        tuple(cell.axes[axis] for axis in ("fold", "confounder", "p_art", "source"))
        for cell in expand(tiny_study(axes=axes))
    ]
    assert order[:6] == [(0, "tag", p_art, source) for p_art in (1, 0) for source in "abc"]
    assert [point[0] for point in order[:24]] == [0] * 12 + [1] * 12
    assert all(point[2] == 0.5 for point in order[24:]) and len(order) == 36


def test_a_value_may_bring_overrides_of_its_own(tiny_study: Make) -> None:
    sex = {"name": "sex", "args": {"value": "F"}, "overrides": {"delay": 2}}
    cells = expand(tiny_study(axes={"confounder": ["tag", sex]}))
    by_name = {cell.axes["confounder"]: cell.overrides for cell in cells}
    assert by_name["sex"]["confounder_args"] == {"value": "F"} and by_name["sex"]["delay"] == 2
    assert "confounder_args" not in by_name["tag"] and "delay" not in by_name["tag"]


def test_null_controls_run_last_at_one_half(tiny_study: Make) -> None:
    cells = expand(tiny_study(controls=["shuffled_labels"]))
    assert [cell.axes["control"] for cell in cells] == ["none"] * 12 + ["shuffled_labels"] * 4
    assert (
        {cell.axes["p_art"] for cell in cells[12:]}
        == {0.5}
        == {cell.overrides["p_art"] for cell in cells[12:]}
    )
    assert all(cell.overrides["control"] == cell.axes["control"] for cell in cells)


def test_negatives_carry_in_cells_of_their_own_but_not_under_a_control(tiny_study: Make) -> None:
    plain = tiny_study(controls=["shuffled_labels"])
    study = with_options(plain, {"p_neg": "0,0.05"})
    cells = [cell.axes for cell in expand(study)]
    assert [cell["p_neg"] for cell in cells].count(0.05) == 12
    assert {cell["p_neg"] for cell in cells if cell["control"] != "none"} == {0.0}
    assert len(cells) == 12 + len(expand(plain)), "a null control does not read p_neg"


def test_the_name_of_a_cell_changes_with_what_it_computes_and_with_nothing_else(tiny_study: Make) -> None:
    def names(**fields: object) -> list[str]:
        return [cell.cell_id for cell in expand(tiny_study(axes={"source": ["a"]}, **fields))]

    same = names()
    assert names(tracking_uri="http://elsewhere", retries=3, analysis={"p_art": 1}, name="other") == same
    assert names(overrides={"output_dir": "x", "run_tags": {"a": 1}}) == same
    assert names(overrides={"delay": 1}) != same and names(protocol="paper") != same


def test_two_weight_files_of_one_name_are_two_sources(tiny_study: Make, tmp_path: Path) -> None:
    files = []
    for number in "ab":
        (tmp_path / number).mkdir()
        files.append(tmp_path / number / "weights.pth")
        files[-1].write_text(number)
    one, two = (expand(tiny_study(axes={"source": [str(file)]}))[0] for file in files)
    assert one.cell_id != two.cell_id and one.axes["source"] == two.axes["source"] == "weights"
    files[1].write_text("a")
    assert expand(tiny_study(axes={"source": [str(files[1])]}))[0].cell_id == one.cell_id


def test_a_changed_case_table_makes_other_cells(tiny_study: Make, tmp_path: Path) -> None:
    names = []
    for content in ("a", "b", "a"):
        (tmp_path / "cases.csv").write_text(content)
        study = tiny_study(axes={"source": ["a"]}, dataset_dir=str(tmp_path))
        names.append(expand(study)[0].cell_id)
    assert names[0] == names[2] != names[1]


def test_a_task_says_where_things_go(tiny_study: Make, tmp_path: Path) -> None:
    study = tiny_study(tracking_uri="sqlite:////store.db")
    cell = expand(study)[0]
    task = task_of(cell, study, tmp_path, bundle_config(study), "parent")
    assert task.overrides["output_dir"] == str(tmp_path / "cells" / cell.cell_id)
    assert task.overrides["parent_run_id"] == "parent" and task.overrides["experiment_name"] == "tiny"
    assert task.overrides["run_tags"]["cell"] == cell.cell_id


def test_the_command_line_narrows_axes_and_sets_anything(tiny_study: Make) -> None:
    axes = {"confounder": ["tag", {"name": "sex", "args": {"value": "F"}}], "fold": [0, 1, 2]}
    options = {"confounder": "sex", "fold": "0,2", "delay": "3", "protocol": "paper", "retries": "2"}
    changed = with_options(tiny_study(axes=axes), {**options, "controls": "shuffled_labels"})
    (sex,) = changed.axes["confounder"]
    assert sex.overrides == {"confounder_args": {"value": "F"}}
    assert [choice.name for choice in changed.axes["fold"]] == [0, 2]
    assert changed.overrides["delay"] == 3 and changed.protocol == "paper" and changed.retries == 2
    assert changed.controls == ("shuffled_labels",)


@pytest.mark.parametrize(
    ("option", "value", "message"),
    [
        ("p_art", "2", "axes.p_art.0: 2 is greater"),
        ("fold", "a", "axes.fold.0: 'a' is not of type 'integer'"),
        ("protocol", "x", "protocol: got 'x'"),
        ("depth", "screen", "no screen.yaml"),
        ("retries", "some", "retries: 'some' is not of type 'integer'"),
    ],
)
def test_the_command_line_is_checked_like_the_file(
    tiny_study: Make, option: str, value: str, message: str
) -> None:
    with pytest.raises(InputError) as caught:
        with_options(tiny_study(), {option: value})
    assert message in str(caught.value)


def test_the_written_study_file_means_the_same_study(tiny_study: Make, tmp_path: Path) -> None:
    axes = {"source": ["a"], "confounder": [{"name": "sex", "args": {"value": "F"}}], "p_art": [0, 1]}
    study = tiny_study(axes=axes, overrides={"delay": 1}, controls=["shuffled_labels"], analysis={"p_art": 1})
    path = tmp_path / "written.yaml"
    path.write_text(yaml.safe_dump(study.as_file()))
    assert [cell.cell_id for cell in expand(read_study(path))] == [cell.cell_id for cell in expand(study)]


@pytest.mark.parametrize(
    ("name", "cells"), [("publication_grid", 360), ("reproduction", 240), ("quick", 100), ("sources", 30)]
)
def test_the_studies_of_the_bundle_can_be_read(name: str, cells: int) -> None:
    study = read_study(STUDIES / f"{name}.yaml")
    assert len(expand(study)) == cells


def test_a_reproduction_has_grid_protocol_and_training_of_the_publication() -> None:
    grid, study = (read_study(STUDIES / f"{name}.yaml") for name in ("publication_grid", "reproduction"))
    assert count_trainings(expand(study)) == 240, "its noise is in every image, none is shared"
    assert {**study.axes, "source": ()} == {**grid.axes, "source": ()}
    settings = {**bundle_config(study), **expand(study)[0].overrides}
    assert settings["protocol"] == "paper" and settings["optimizer"]["_target_"] == "torch.optim.Adam"
    assert (settings["image_size"], settings["batch_size"], settings["max_epochs"]) == (512, 256, 30)


def test_every_field_and_axis_is_in_the_reference() -> None:
    text = (Path(__file__).parents[2] / "docs" / "study_file.md").read_text()
    rows = {line.split("`")[1] for line in text.splitlines() if line.startswith("| `")}
    assert rows == set(STUDY_SCHEMA["properties"])
    assert all(f"`{axis}`" in text for axis in AXES)


def test_images_of_ct_are_counted_for_every_window_and_patch() -> None:
    bundle = Path(__file__).parents[2] / "bundles" / "ct_volume_classification"
    study = read_study(bundle / "studies" / "quick.yaml")
    one = {cell.images for cell in expand(study)}
    for setting, value in {
        "patch_mm": 50,
        "window": "bone",
        "slab_mm": 10,
        "unit": "display",
        "gaps": "warn",
    }.items():
        assert not one & {
            cell.images for cell in expand(replace(study, overrides={**study.overrides, setting: value}))
        }
    axis = (*study.axes["network"][:1], replace(study.axes["network"][0], overrides={"patch_mm": 50}))
    both = replace(study, axes={**study.axes, "network": axis})
    assert len({cell.images for cell in expand(both)}) == 2 * len(one)


def test_a_network_of_ones_own_is_named_without_its_place(tiny_study: Make, tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    (tmp_path / "b").mkdir()
    for folder in ("a", "b"):
        (tmp_path / folder / "net.py").write_text("def build():\n    pass\n")
    words = [f"{tmp_path}/{folder}/net.py:build(width=8)" for folder in ("a", "b")]
    axes = {"source": ["good"], "p_art": [0], "fold": [0]}
    first, second = (expand(tiny_study(axes={**axes, "network": [one]}))[0] for one in words)
    assert first.cell_id == second.cell_id and first.overrides["network"] == words[0]
    assert str(first.axes["network"]).startswith("net-") and str(tmp_path) not in str(first.axes)
    (tmp_path / "b" / "net.py").write_text("def build():\n    return 1\n")
    assert expand(tiny_study(axes={**axes, "network": words[1:]}))[0].cell_id != first.cell_id
