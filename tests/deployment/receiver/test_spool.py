"""The spool: whatever happens, an instance is in exactly one answer."""

import errno
import os
import shutil
import sys
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import pytest
from dicom_nodes import radiograph
from pydicom import Dataset, dcmread

from srcmatters.deployment.receiver.known_studies import KnownStudies
from srcmatters.deployment.receiver.spool import SPARE, Spool
from srcmatters.errors import InputError

CHANGES = {"os.rename", "os.remove", "os.rmdir", "os.mkdir", "open"}


class _Snapshots:
    """Copies of a folder as it was before every change to anything in it.

    An audit hook stays for the life of the process; this one does nothing once it is switched off.
    """

    def __init__(self, folder: Path, copies: Path) -> None:
        self.folder, self.copies = folder, copies
        self.taken: list[tuple[Path, set[str], set[str]]] = []
        self.stored: set[str] = set()
        self.delivered: set[str] = set()
        self.active = False
        sys.addaudithook(self._before)

    def _before(self, event: str, arguments: tuple[object, ...]) -> None:
        if not self.active or event not in CHANGES:
            return
        self.active = False
        copy = self.copies / f"{len(self.taken):03d}"
        shutil.copytree(self.folder, copy)
        self.taken.append((copy, set(self.stored), set(self.delivered)))
        self.active = True


def _answer(files: list[Path]) -> Dataset:
    """A result that names the instances it is about."""
    result = radiograph()
    result.ImageComments = ",".join(sorted(file.stem for file in files))
    return result


def _work_off(spool: Spool, delivered: Callable[[Dataset], None]) -> None:
    """What the threads do, one after the other."""
    for study in spool.batches("incoming"):
        spool.take(study)
    for batch in spool.batches("reading"):
        spool.begin(batch)
        files = spool.files("reading", batch)
        spool.commit(batch, [_answer(files)])
    for batch in spool.unsent():
        for file in spool.files("outgoing", batch):
            delivered(dcmread(file))
            spool.acknowledged(batch, file)


@pytest.mark.parametrize("keep_sent", [False, True])
def test_killed_before_any_change_every_instance_is_in_exactly_one_answer(
    tmp_path: Path, keep_sent: bool
) -> None:
    spool = Spool(tmp_path / "spool", keep_sent)
    (tmp_path / "copies").mkdir()
    snapshots = _Snapshots(spool.folder, tmp_path / "copies")
    answers: dict[str, str] = {}

    def delivered(result: Dataset) -> None:
        answers[str(result.SOPInstanceUID)] = result.ImageComments
        snapshots.delivered.add(str(result.SOPInstanceUID))

    snapshots.active = True
    for study, instance in (("a", "1"), ("a", "2"), ("b", "3")):
        spool.keep_instance(study, instance, b"instance")
        snapshots.stored.add(instance)
    _work_off(spool, delivered)
    snapshots.active = False
    spool.close()
    assert len(snapshots.taken) > 40
    assert {len(done) for _, _, done in snapshots.taken} == {0, 1, 2}
    for copy, stored, before in snapshots.taken:
        later = Spool(copy, keep_sent)
        sent = {uid: answers[uid] for uid in before}
        _work_off(
            later,
            lambda result, sent=sent: sent.update({str(result.SOPInstanceUID): result.ImageComments}),
        )
        later.close()
        about = [instance for comment in sent.values() for instance in comment.split(",")]
        assert len(about) == len(set(about)), f"{copy.name}: answered twice"
        assert stored <= set(about), f"{copy.name}: lost"
        left = [path for stage in ("incoming", "reading", "outgoing") for path in (copy / stage).iterdir()]
        assert not left


def test_a_result_is_not_sent_while_its_study_might_be_read_again(tmp_path: Path) -> None:
    spool = Spool(tmp_path / "spool")
    spool.keep_instance("a", "1", b"instance")
    batch = spool.take("a")
    (spool.folder / "outgoing" / batch).mkdir()
    radiograph().save_as(spool.folder / "outgoing" / batch / "0001.dcm")
    assert spool.unsent() == []
    shutil.rmtree(spool.folder / "reading" / batch)
    assert spool.unsent() == [batch]


def test_a_study_whose_results_are_there_is_not_read_again(tmp_path: Path) -> None:
    spool = Spool(tmp_path / "spool")
    spool.keep_instance("a", "1", b"instance")
    batch = spool.take("a")
    (spool.folder / "outgoing" / batch).mkdir()
    radiograph().save_as(spool.folder / "outgoing" / batch / "0001.dcm")
    spool.close()
    again = Spool(tmp_path / "spool")
    assert (again.batches("reading"), again.unsent()) == ([], [batch])


def test_a_study_without_results_is_not_read_again_by_halves(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def killed(path: Path, **_: object) -> None:
        (path / "1.dcm").unlink()
        raise KeyboardInterrupt

    spool = Spool(tmp_path / "spool")
    for instance in ("1", "2"):
        spool.keep_instance("a", instance, b"instance")
    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(shutil, "rmtree", killed)
        spool.commit(spool.take("a"), [])
    spool.close()
    assert Spool(tmp_path / "spool").batches("reading") == []


def test_full_disk_leaves_nothing_half_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    spool = Spool(tmp_path / "spool")
    spool.keep_instance("a", "1", b"whole")

    def full(descriptor: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", full)
        with pytest.raises(OSError, match="No space"):
            spool.keep_instance("a", "2", b"half")
        with pytest.raises(OSError, match="No space"):
            spool.keep_instance("a", "1", b"other")
    (kept,) = (spool.folder / "incoming" / "a").iterdir()
    assert kept.read_bytes() == b"whole"


def test_results_that_cannot_be_written_leave_the_study_to_be_read_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    spool = Spool(tmp_path / "spool")
    spool.keep_instance("a", "1", b"instance")
    batch = spool.take("a")
    with monkeypatch.context() as patch:
        patch.setattr(
            "srcmatters.deployment.receiver.spool.dcmwrite",
            lambda *_, **__: (_ for _ in ()).throw(OSError(28, "full")),
        )
        with pytest.raises(OSError, match="full"):
            spool.commit(batch, [radiograph()])
    assert spool.batches("reading") == [batch]
    assert spool.unsent() == []
    spool.commit(batch, [radiograph()])
    assert spool.unsent() == [batch]


def test_the_same_instance_once_more_replaces_itself(tmp_path: Path) -> None:
    spool = Spool(tmp_path / "spool")
    for _ in range(2):
        spool.keep_instance("a", "1", b"instance")
    assert len(spool.files("incoming", "a")) == 1


def test_names_are_salted_hashes_that_last(tmp_path: Path) -> None:
    uid = "1.2.826.0.1.3680043.8.498.1"
    first = Spool(tmp_path / "one")
    name = first.hashed(uid)
    first.close()
    again, other = Spool(tmp_path / "one"), Spool(tmp_path / "two")
    assert again.hashed(uid) == name
    assert other.hashed(uid) != name
    assert again.hashed(uid + "0") != name
    assert (tmp_path / "one").stat().st_mode & 0o077 == 0


def test_a_study_that_another_thread_takes_while_they_are_listed_is_passed_over(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    spool = Spool(tmp_path / "spool")
    for study in ("a", "b"):
        spool.keep_instance(study, "1", b"instance")
    listed = Path.iterdir

    def listed_too_early(folder: Path) -> list[Path]:
        studies = [*listed(folder)]
        if folder.name == "incoming":
            shutil.rmtree(folder / "a", ignore_errors=True)
        return studies

    monkeypatch.setattr(Path, "iterdir", listed_too_early)
    assert spool.batches("incoming") == ["b"]


def test_nobody_else_may_read_what_lies_in_a_spool_even_one_that_was_open(tmp_path: Path) -> None:
    folder = tmp_path / "spool"
    folder.mkdir(mode=0o755)
    folder.chmod(0o755)
    (folder / "salt").write_bytes(bytes(32))
    (folder / "salt").chmod(0o644)
    spool = Spool(folder)
    spool.keep_instance("a", "1", b"instance")
    for path in (folder, folder / "salt", *spool.files("incoming", "a")):
        assert path.stat().st_mode & 0o077 == 0, path.name


def test_a_folder_that_holds_other_things_too_stays_as_open_as_it_was(tmp_path: Path) -> None:
    folder = tmp_path / "shared"
    folder.mkdir()
    folder.chmod(0o755)
    (folder / "letter.txt").write_text("of somebody")
    Spool(folder)
    assert folder.stat().st_mode & 0o777 == 0o755
    assert (folder / "incoming").stat().st_mode & 0o077 == 0


def test_some_of_the_disk_is_left_to_answers_and_to_others(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    spool = Spool(tmp_path / "spool")
    left = SPARE + 10
    monkeypatch.setattr(shutil, "disk_usage", lambda path: SimpleNamespace(free=left))
    spool.keep_instance("a", "1", b"12345", b"67890")
    with pytest.raises(OSError, match="No space left on device but 256 MiB"):
        spool.keep_instance("a", "2", b"12345", b"678901")
    assert len(spool.files("incoming", "a")) == 1


def test_studies_that_were_read_are_remembered_but_not_for_ever(tmp_path: Path) -> None:
    known = KnownStudies(tmp_path, most=2)
    for age, study in enumerate(("a", "b", "c")):
        known.add(study, ["1"])
        os.utime(tmp_path / study, ns=(age, age))
    known.add("b", ["2"])
    assert [known.instances(study) for study in ("b", "c")] == [{"1", "2"}, {"1"}]
    assert known.instances("a") == set()


def test_a_spool_belongs_to_one_server(tmp_path: Path) -> None:
    first = Spool(tmp_path / "spool")
    with pytest.raises(InputError, match=r"--spool .*spool: another server is using it"):
        Spool(tmp_path / "spool")
    first.close()
    Spool(tmp_path / "spool").close()


def test_a_spool_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match=r"--spool .*file/spool: cannot be written \(Not a directory\)"):
        Spool(tmp_path / "file" / "spool")


def test_of_a_refused_study_the_reason_stays(tmp_path: Path) -> None:
    spool = Spool(tmp_path / "spool")
    spool.keep_instance("a", "1", b"instance")
    batch = spool.take("a")
    spool.begin(batch)
    spool.refuse(batch, "a foot, expected a chest")
    left = [path for path in spool.folder.rglob("*") if path.is_file() and path.parent != spool.folder]
    assert left == [spool.folder / "refused" / batch / "reason.txt"]
    assert left[0].read_text() == "a foot, expected a chest\n"
    assert spool.batches("reading") == []


@pytest.mark.parametrize("keep", [False, True])
def test_killed_before_any_change_a_refused_study_is_there_or_its_reason(tmp_path: Path, keep: bool) -> None:
    """Its reason is in a report to the archive from the moment on that it is not read again."""
    spool = Spool(tmp_path / "spool", keep_refused=keep)
    for instance in ("1", "2"):
        spool.keep_instance("a", instance, b"instance")
    batch = spool.take("a")
    (tmp_path / "copies").mkdir()
    snapshots = _Snapshots(spool.folder, tmp_path / "copies")
    snapshots.active = True
    spool.refuse(batch, "a foot, expected a chest", reports=[radiograph()])
    snapshots.active = False
    spool.close()
    assert len(snapshots.taken) > 5
    outcomes = set()
    for copy, _, _ in snapshots.taken:
        later = Spool(copy)
        instances = len(later.files("reading", batch)) if later.batches("reading") else 0
        reasons = [path.read_text() for path in (copy / "refused").glob("*/*.txt")]
        kept = len([*(copy / "refused").glob("*/*.dcm")])
        outcomes.add((instances, kept, len(later.unsent()), *reasons))
        later.close()
    told = "a foot, expected a chest\n"
    # Killed between report and reason, the reason is in the report alone.
    expected = {(0, 2, 1, told)} if keep else {(0, 0, 1), (0, 0, 1, told)}
    assert outcomes == {(2, 0, 0), *expected}


@pytest.mark.parametrize(("always", "this_one"), [(True, False), (False, True)])
def test_a_refused_study_lies_beside_its_reason_on_wish(tmp_path: Path, always: bool, this_one: bool) -> None:
    spool = Spool(tmp_path / "spool", keep_refused=always)
    spool.keep_instance("a", "1", b"instance")
    batch = spool.take("a")
    spool.begin(batch)
    spool.refuse(batch, "a foot, expected a chest", keep=this_one)
    refused = spool.folder / "refused" / batch
    assert sorted(path.name for path in refused.iterdir()) == ["1.dcm", "reason.txt"]
    assert (refused / "reason.txt").read_text() == "a foot, expected a chest\n"
    assert spool.batches("reading") == []
