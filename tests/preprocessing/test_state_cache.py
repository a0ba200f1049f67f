"""Both states of every image, computed once, whatever asks for them."""

import json
import os
from multiprocessing import get_context
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from monai.transforms import Compose
from PIL import Image

from srcmatters.cohorts import read_cases
from srcmatters.confounders import Confounderd, create_confounder
from srcmatters.errors import InputError
from srcmatters.images import LoadRadiographd
from srcmatters.preprocessing import AntialiasedResized, StateCache, fingerprint
from srcmatters.preprocessing.fingerprint import code_files, library_versions, transform_fingerprint
from srcmatters.preprocessing.stored_arrays import map_array
from srcmatters.training import CaseDataset, case_loader, check_detectability


@pytest.fixture
def cases(tmp_path: Path) -> pd.DataFrame:
    folder = tmp_path / "cohort"
    folder.mkdir()
    rng = np.random.default_rng(0)
    for number in range(8):
        Image.fromarray(rng.integers(0, 100, (64, 64), dtype=np.uint8)).save(folder / f"{number}.png")
    table = pd.DataFrame({"image": [f"{number}.png" for number in range(8)]})
    table["patient_id"], table["label"] = [f"P{number}" for number in range(8)], [0, 1] * 4
    table.to_csv(folder / "cases.csv", index=False)
    return read_cases(folder)


def preprocessing(size: int = 32, **parameters: object) -> Compose:
    tag = create_confounder("tag", height=0.3, **parameters)
    assert tag is not None
    return Compose(
        [
            LoadRadiographd("image"),
            Confounderd("image", tag, carries_key="carries"),
            AntialiasedResized("image", (size, size)),
        ]
    )


def test_the_states_differ_by_the_confounder_alone(cases: pd.DataFrame) -> None:
    cache = StateCache.open(cases, preprocessing())
    assert cache.images.shape == (2, 8, 1, 32, 32)
    difference = cache.state("confounded") - cache.state("clean")
    assert (difference.abs().amax((1, 2, 3)) > 0.2).all(), "some case carries no tag"
    rows, columns = difference.abs().amax((0, 1)).nonzero().T
    assert rows.max() < 20 and columns.max() < 20, "the tag reaches outside its box"
    expected = AntialiasedResized("image", (32, 32))(LoadRadiographd("image")({"image": cases["image"][3]}))
    torch.testing.assert_close(cache.state("clean")[3], expected["image"])


def test_workers_do_not_change_the_pixels(cases: pd.DataFrame, tmp_path: Path) -> None:
    one = StateCache.open(cases, preprocessing(), cache_dir=tmp_path / "a", num_workers=0)
    two = StateCache.open(cases, preprocessing(), cache_dir=tmp_path / "b", num_workers=2)
    assert torch.equal(one.images, two.images) and one.digests == two.digests


def test_a_second_study_decodes_nothing(cases: pd.DataFrame, monkeypatch: pytest.MonkeyPatch) -> None:
    first = StateCache.open(cases, preprocessing())
    monkeypatch.setattr(StateCache, "_build", lambda *_: pytest.fail("decoded again"))
    assert torch.equal(StateCache.open(cases, preprocessing()).images, first.images)


@pytest.mark.parametrize("change", ["parameter", "size", "file", "cases"])
def test_whatever_changes_the_pixels_changes_the_cache(cases: pd.DataFrame, change: str) -> None:
    first = StateCache.open(cases, preprocessing())
    if change == "file":
        Image.fromarray(np.eye(64, dtype=np.uint8) * 255).save(cases["image"][0])
    steps = {"parameter": preprocessing(text="L"), "size": preprocessing(size=24)}.get(
        change, preprocessing()
    )
    second = StateCache.open(cases.iloc[1:] if change == "cases" else cases, steps)
    assert second.path != first.path
    assert second.images.shape != first.images.shape or not torch.equal(second.images, first.images)


def placed(cases: pd.DataFrame) -> pd.DataFrame:
    return cases.assign(
        **{name: [float(at) for at in range(len(cases))] for name in ("x_mm", "y_mm", "z_mm")}
    )


def with_changed(table: pd.DataFrame, column: str, value: object) -> pd.DataFrame:
    changed = table.copy()
    changed.loc[3, column] = value
    return changed


@pytest.mark.parametrize("column", ["image", "case_id", "x_mm", "y_mm", "z_mm"])
def test_every_column_that_decides_pixels_is_in_the_key(
    cases: pd.DataFrame, tmp_path: Path, column: str
) -> None:
    table = placed(cases)
    other = {"image": str(tmp_path / "cohort" / "4.png"), "case_id": "another"}.get(column, 3.25)
    assert StateCache(with_changed(table, column, other), preprocessing()).path != (
        StateCache(table, preprocessing()).path
    )


@pytest.mark.parametrize(
    "library",
    [
        "monai",
        "nibabel",
        "numpy",
        "pillow",
        "pydicom",
        "python-gdcm",
        "scikit-image",
        "scipy",
        "torch",
        "itk-io",
    ],
)
def test_another_version_of_a_library_is_another_key(
    cases: pd.DataFrame, monkeypatch: pytest.MonkeyPatch, library: str
) -> None:
    before, installed = StateCache(cases, preprocessing()).path, fingerprint.importlib.metadata.version
    assert library in library_versions()
    newer = lambda name: "99" if name == library else installed(name)  # noqa: E731
    monkeypatch.setattr(fingerprint.importlib.metadata, "version", newer)
    assert StateCache(cases, preprocessing()).path != before


def test_every_module_that_pixels_pass_is_in_the_key(
    cases: pd.DataFrame, monkeypatch: pytest.MonkeyPatch
) -> None:
    names = {path.relative_to(fingerprint._PACKAGE).as_posix() for path in code_files()}
    assert {"images/dicom_pixels.py", "preprocessing/resizing.py", "case_stream.py"} <= names
    read, keys = Path.read_text, set()
    for changed in [None, *code_files()]:

        def edited(path: Path, *args: object, **options: object) -> str:
            return read(path, *args, **options) + ("#" if path == changed else "")  # noqa: B023

        with monkeypatch.context() as patch:
            patch.setattr(Path, "read_text", edited)
            keys.add(transform_fingerprint(Compose([])))
    assert len(keys) == len(names) + 1


def _fingerprint() -> str:
    return transform_fingerprint(preprocessing().set_random_state(0))


@pytest.mark.slow
def test_the_fingerprint_is_the_same_in_every_process(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYTHONHASHSEED", "12345")  # the order of sets and of text's hashes there
    with get_context("spawn").Pool(1) as pool:
        elsewhere = pool.apply(_fingerprint)
    assert elsewhere == _fingerprint()


def test_the_cached_file_cannot_be_changed_through_the_tensor(cases: pd.DataFrame) -> None:
    cache = StateCache.open(cases, preprocessing())
    before = cache.images.clone()
    cache.images[:] = 7
    assert torch.equal(StateCache.open(cases, preprocessing()).images, before)


def test_an_array_larger_than_memory_can_be_opened(tmp_path: Path) -> None:
    shape = (2, 1_000_000, 1, 224, 224)  # 400 GB, all of it a hole in a sparse file
    np.lib.format.open_memmap(tmp_path / "large.npy", "w+", np.float32, shape)
    images = map_array(tmp_path / "large.npy")
    assert images.shape == shape and images[1, 999_999].sum() == 0


def test_without_a_confounder_there_is_one_state(cases: pd.DataFrame) -> None:
    plain = Compose([LoadRadiographd("image"), AntialiasedResized("image", (32, 32))])
    cache = StateCache.open(cases, plain)
    assert cache.images.shape[0] == 1 and torch.equal(cache.state("clean"), cache.state("confounded"))


@pytest.mark.parametrize("workers", [0, 2])
def test_an_unreadable_image_is_named_and_nothing_stays(
    cases: pd.DataFrame, tmp_path: Path, workers: int
) -> None:
    Path(cases["image"][5]).write_bytes(b"broken")
    with pytest.raises(InputError) as caught:
        StateCache.open(cases, preprocessing(), cache_dir=tmp_path / "c", num_workers=workers)
    assert "5.png" in str(caught.value) and "\n" not in str(caught.value)
    assert "image 6 of 8" in str(caught.value) and "--unreadable skip" in str(caught.value)
    left = [path for path in (tmp_path / "c").rglob("*") if path.suffix not in (".lock", "")]
    assert left == []


def test_images_of_different_shapes_are_refused(cases: pd.DataFrame) -> None:
    Image.fromarray(np.eye(32, 64, dtype=np.uint8) * 255).save(cases["image"][5])
    with pytest.raises(InputError, match=r"5\.png: shape \(1, 32, 64\)"):
        StateCache.open(cases, Compose([LoadRadiographd("image")]))


def test_the_digest_is_of_the_content_not_of_names(cases: pd.DataFrame, tmp_path: Path) -> None:
    digest = StateCache.open(cases, preprocessing()).digest()
    renamed = cases.copy()
    for row, image in enumerate(cases["image"]):
        moved = tmp_path / f"other-{row}.png"
        moved.write_bytes(Path(image).read_bytes())
        renamed.loc[row, "image"] = str(moved)
    assert StateCache.open(renamed, preprocessing()).digest() == digest
    relabelled = cases.assign(label=1 - cases["label"])
    assert StateCache.open(relabelled, preprocessing()).digest() != digest


def test_a_cache_that_cannot_be_written_is_said(cases: pd.DataFrame, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match="cache_dir"):
        StateCache.open(cases, preprocessing(), cache_dir=tmp_path / "file")


def test_a_batch_holds_each_case_in_its_state(cases: pd.DataFrame) -> None:
    cache = StateCache.open(cases, preprocessing())
    carries = np.array([False, True] * 4)
    dataset = CaseDataset(cache, [6, 1, 3], carries)
    batch = dataset.__getitems__([0, 1, 2])
    assert batch["case_id"] == ["6", "1", "3"] and batch["label"].tolist() == [0, 1, 1]
    expected = torch.stack(
        [cache.state("clean")[6], cache.state("confounded")[1], cache.state("confounded")[3]]
    )
    assert torch.equal(batch["image"], expected)
    assert torch.equal(dataset[1]["image"], expected[1])


def test_shuffling_depends_on_the_seed_alone_and_shows_every_case(cases: pd.DataFrame) -> None:
    dataset = CaseDataset(StateCache.open(cases, preprocessing()), range(8))

    def order(seed: int) -> list[list[str]]:
        loader = case_loader(dataset, 3, shuffle=True, seed=seed)
        torch.rand(int(torch.randint(1, 9, ()).item()))  # whoever else draws must not matter
        return [[name for batch in loader for name in batch["case_id"]] for _ in range(2)]

    first = order(0)
    assert first == order(0) != order(1)
    assert first[0] != first[1], "every epoch has the same order"
    assert sorted(first[0]) == [str(number) for number in range(8)]


def test_no_batch_of_one_case_reaches_batch_normalisation(cases: pd.DataFrame) -> None:
    dataset = CaseDataset(StateCache.open(cases, preprocessing()), range(7))
    assert [len(batch["label"]) for batch in case_loader(dataset, 3, shuffle=True)] == [3, 3]
    assert [len(batch["label"]) for batch in case_loader(dataset, 3)] == [3, 3, 1]


def test_the_record_beside_the_array_is_complete(cases: pd.DataFrame) -> None:
    cache = StateCache.open(cases, preprocessing())
    assert len(json.loads(cache.path.with_suffix(".json").read_text())["digests"]) == len(cases)


def broken(cases: pd.DataFrame, *rows: int) -> dict[int, bytes]:
    """Damage images; returns what they held."""
    before = {row: Path(cases["image"][row]).read_bytes() for row in rows}
    for row in rows:
        Path(cases["image"][row]).write_bytes(b"broken")
    return before


@pytest.mark.parametrize("workers", [0, 2])
def test_skipping_leaves_out_what_cannot_be_read_and_nothing_else(
    cases: pd.DataFrame, capsys: pytest.CaptureFixture, workers: int
) -> None:
    whole = StateCache.open(cases, preprocessing())
    broken(cases, 0, 5)
    for attempt in range(2):  # made, and opened again
        cache = StateCache.open(cases, preprocessing(), num_workers=workers, unreadable="skip")
        assert cache.cases["case_id"].tolist() == ["1", "2", "3", "4", "6", "7"], attempt
        assert torch.equal(cache.images, whole.images[:, [1, 2, 3, 4, 6, 7]])
        assert cache.digests == [whole.digests[row] for row in (1, 2, 3, 4, 6, 7)]
        assert [case for case, _ in cache.skipped] == ["0", "5"]
        assert all(f"{case}.png" in reason for case, reason in cache.skipped)
        message = capsys.readouterr().err
        assert "2 of 8 images cannot be read and are left out" in message and "5.png" in message


def test_what_was_skipped_is_not_decoded_again_and_still_fails_where_asked(
    cases: pd.DataFrame, monkeypatch: pytest.MonkeyPatch
) -> None:
    broken(cases, 5)
    StateCache.open(cases, preprocessing(), unreadable="skip")
    with pytest.raises(InputError, match=r"5\.png"):
        StateCache.open(cases, preprocessing())
    monkeypatch.setattr(StateCache, "_build", lambda *_: pytest.fail("decoded again"))
    assert len(StateCache.open(cases, preprocessing(), unreadable="skip").cases) == 7


@pytest.mark.parametrize("same_time", [True, False])
def test_a_mended_image_is_back(cases: pd.DataFrame, same_time: bool) -> None:
    """Also if its size and time are those of the damaged file: perhaps a decoder was installed."""
    whole = StateCache.open(cases, preprocessing()).images.clone()
    content = broken(cases, 2, 5)
    path = Path(cases["image"][5])
    path.write_bytes(b"x" * len(content[5]))
    time = path.stat().st_mtime_ns
    assert len(StateCache.open(cases, preprocessing(), unreadable="skip").cases) == 6
    path.write_bytes(content[5])
    if same_time:
        os.utime(path, ns=(time, time))
    mended = StateCache.open(cases, preprocessing(), unreadable="skip")
    assert [case for case, _ in mended.skipped] == ["2"]
    assert torch.equal(mended.images, whole[:, [0, 1, 3, 4, 5, 6, 7]])


def test_nothing_readable_is_said(cases: pd.DataFrame, tmp_path: Path) -> None:
    broken(cases, *range(8))
    with pytest.raises(InputError, match=r"none of 8 images can be read; the first: .*0\.png"):
        StateCache.open(cases, preprocessing(), cache_dir=tmp_path / "c", unreadable="skip")
    assert [path for path in (tmp_path / "c").rglob("*") if path.suffix not in (".lock", "")] == []


def test_a_mistake_in_the_confounder_is_no_unreadable_image(cases: pd.DataFrame) -> None:
    dose = create_confounder("low_dose_ct")
    assert dose is not None
    steps = [LoadRadiographd("image"), Confounderd("image", dose, carries_key="carries")]
    with pytest.raises(InputError) as caught:
        StateCache.open(cases, Compose(steps), unreadable="skip")
    assert "can be read" not in str(caught.value)


def test_an_unknown_way_with_unreadable_images_is_refused(cases: pd.DataFrame) -> None:
    with pytest.raises(InputError, match="unreadable: 'skipp' is unknown: did you mean 'skip'"):
        StateCache.open(cases, preprocessing(), unreadable="skipp")


def test_the_clean_state_is_known_by_its_pixels_whatever_the_confounder(cases: pd.DataFrame) -> None:
    plain = Compose([LoadRadiographd("image"), AntialiasedResized("image", (32, 32))])
    one, other, none = (
        StateCache.open(cases, steps) for steps in (preprocessing(), preprocessing(text="L"), plain)
    )
    assert one.pixel_digest("clean") == other.pixel_digest("clean") == none.pixel_digest("clean")
    assert none.pixel_digest("confounded") == none.pixel_digest("clean")
    assert (
        len({one.pixel_digest("clean"), one.pixel_digest("confounded"), other.pixel_digest("confounded")})
        == 3
    )


def test_detectability_is_measured_once(cases: pd.DataFrame, monkeypatch: pytest.MonkeyPatch) -> None:
    first = check_detectability(StateCache.open(cases, preprocessing()), "tag", force=True)
    monkeypatch.setattr(
        "srcmatters.training.detectability_check.detectability", lambda *_, **__: pytest.fail("again")
    )
    assert (
        check_detectability(StateCache.open(cases, preprocessing()), "tag", force=True) == first is not None
    )


def test_balanced_batches_hold_both_labels_equally_often(cases: pd.DataFrame) -> None:
    labels = cases["label"].to_numpy()
    rare = [int(np.flatnonzero(labels == 1)[0]), *np.flatnonzero(labels == 0).tolist()]
    dataset = CaseDataset(StateCache.open(cases, preprocessing()), rare)

    def drawn(balanced: bool, seed: int = 0) -> list[int]:
        loader = case_loader(dataset, len(rare), shuffle=True, seed=seed, balanced=balanced)
        return [int(label) for _ in range(100) for batch in loader for label in batch["label"]]

    assert np.mean(drawn(False)) == pytest.approx(1 / len(rare))
    assert np.mean(drawn(True)) == pytest.approx(0.5, abs=0.08)
    assert drawn(True, 1) == drawn(True, 1) != drawn(True, 2)
