"""Predictions on studies that lie in an archive: one study after another comes, is read, and is deleted."""

from __future__ import annotations

import tempfile
from collections import Counter
from collections.abc import Generator, Sequence
from pathlib import Path

from srcmatters.deployment.prediction.guard import modality_of
from srcmatters.deployment.prediction.header_tasks import read_fields
from srcmatters.deployment.prediction.inputs import Item
from srcmatters.deployment.prediction.predictor import Prediction, Predictor
from srcmatters.deployment.prediction.sandboxed_decoder import Decoder
from srcmatters.deployment.redaction import hashed
from srcmatters.deployment.retrieval.dicomweb import ArchivedSeries, DicomWebArchive
from srcmatters.deployment.retrieval.options import StudySelection, is_uid
from srcmatters.deployment.retrieval.study_files import StudyFiles
from srcmatters.errors import InputError
from srcmatters.images.declarations import MODALITIES


class Retrieval:
    """What a bundle says of studies in an archive.

    A study is fetched into a folder that nobody else may read, and deleted when its answers are given. Only
    series of the modalities that the bundle reads are fetched. A study of which anything is missing is
    refused as a whole: an answer to a part of it might be taken for one to all of it.

    Args:
        archive: where they are.
        selection: which.
        predictor: reads them.
        seconds: in which a study must have come.
        identifiers: name files by UIDs instead of their hashes.
    """

    def __init__(
        self,
        archive: DicomWebArchive,
        selection: StudySelection,
        predictor: Predictor,
        seconds: float,
        identifiers: bool,
    ) -> None:
        self.archive, self.selection, self.predictor = archive, selection, predictor
        self.seconds, self.identifiers = seconds, identifiers
        self.not_fetched = Counter[str]()  # modality -> series
        self._modalities = MODALITIES[modality_of(predictor.rules)]

    def predictions(self) -> Generator[Prediction, None, None]:
        """The answers, study by study; their files are there until the next one is asked for.

        Raises:
            InputError: the archive cannot be asked, nothing matches, or too much.
        """
        for study, there in self._studies().items():
            with tempfile.TemporaryDirectory(prefix="srcmatters-study-") as scratch:
                folder = Path(scratch) / "study"
                folder.mkdir()
                try:
                    if not there:
                        raise InputError("the archive has no such study, or it does not match --query")
                    files = StudyFiles(Path(scratch), self.seconds)
                    self._receive(study, files)
                    self._arrange(study, files, folder)
                except InputError as error:
                    yield self._refused(study, str(error))
                    continue
                yield from self.predictor.predict([folder], named_below=folder)

    def _studies(self) -> dict[str, bool]:
        """Study Instance UID -> whether the archive has it."""
        selection = self.selection
        try:
            if selection.studies:
                return {study: self._has(study) for study in selection.studies}
            studies = sorted(self.archive.find_studies(selection.keys, selection.limit), key=hashed)
        except InputError as error:
            raise InputError(f"--from {self.archive.name}: {error}") from error
        if len(studies) > selection.limit:
            raise InputError(
                f"--query: more than {selection.limit} studies match, none was fetched; ask for fewer, or"
                " raise --max-studies"
            )
        if not studies:
            raise InputError(f"--query: no study of {self.archive.name} matches")
        return dict.fromkeys(studies, True)

    def _has(self, study: str) -> bool:
        keys = {**self.selection.keys, "StudyInstanceUID": study}
        return study in self.archive.find_studies(keys, 1)

    def _receive(self, study: str, files: StudyFiles) -> None:
        series = self.archive.find_series(study)
        readable = [one for one in series if one.modality in self._modalities]
        others = Counter(one.modality or "unknown" for one in series if one not in readable)
        self.not_fetched += others
        if not readable:
            modalities = ", ".join(sorted(others)) or "none at all"
            raise InputError(f"no series of modality {' or '.join(self._modalities)} in it, but {modalities}")
        for one in readable:
            self._receive_series(study, one, files)

    def _receive_series(self, study: str, series: ArchivedSeries, files: StudyFiles) -> None:
        expected = series.instances
        if expected is None:
            expected = self.archive.count_instances(study, series.uid)
        before = len(files.paths)
        self.archive.fetch(study, series.uid, files)
        arrived = len(files.paths) - before
        if arrived != expected:
            raise InputError(f"{arrived} instances of a series arrived, expected {expected}")

    def _arrange(self, study: str, files: StudyFiles, folder: Path) -> None:
        """Give files the places by which the table calls them: study, series, instance.

        Raises:
            InputError: something else came than was asked for.
        """
        decoder = self.predictor.decoder
        seen: set[str] = set()
        (folder / self._called(study)).mkdir()
        for number, path in enumerate(files.paths, 1):
            parts = _uids(path, decoder)
            if parts and parts[0] != study:
                raise InputError("the archive sent an instance of another study")
            if parts and parts[2] in seen:
                raise InputError("the archive sent an instance twice, expected each once")
            seen.update(parts[2:])
            # What cannot be read stays where the reading says so.
            series, instance = map(self._called, parts[1:]) if parts else ("unreadable", f"{number:06d}")
            place = folder / self._called(study) / series / f"{instance}.dcm"
            place.parent.mkdir(exist_ok=True)
            path.rename(place)

    def _called(self, uid: str) -> str:
        return uid if self.identifiers and is_uid(uid) else hashed(uid)

    def _refused(self, study: str, reason: str) -> Prediction:
        header = {"StudyInstanceUID": study, "SeriesInstanceUID": ""}
        item = Item(self._called(study), Path(), (), (header,))
        return Prediction(item, "refused", (item.message(reason),))

    @property
    def remarks(self) -> Sequence[str]:
        """What a summary should say besides."""
        if not self.not_fetched:
            return ()
        counts = ", ".join(f"{count} {modality}" for modality, count in sorted(self.not_fetched.items()))
        return (f"series not fetched: {counts}",)


def _uids(path: Path, decoder: Decoder) -> tuple[str, ...]:
    """Study, Series and SOP Instance UID; none of a file that cannot be read or does not say."""
    try:
        fields = decoder.run(read_fields, path)
    except InputError:
        return ()
    uids = tuple(fields[f"{name}InstanceUID"] for name in ("Study", "Series", "SOP"))
    return uids if all(uids) else ()
