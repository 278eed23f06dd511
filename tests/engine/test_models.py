"""ModelStore against a real HTTP server on this machine."""

from __future__ import annotations

import hashlib
import os
import re
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from spectacles_engine import download
from spectacles_engine.errors import ChecksumError, ModelError, ModelMissingError, NoNetworkError, OutputError
from spectacles_engine.manifest import EMBEDDED, FAMILIES, Manifest, describe
from spectacles_engine.messages import PRESETS, STEMS
from spectacles_engine.models import ModelStore, refresh

ROOT = Path(__file__).parents[2]
NAME = "model.onnx"
CONTENT = bytes(range(256)) * 4096  # 1 MiB: several blocks
SHA256 = hashlib.sha256(CONTENT).hexdigest()


@dataclass
class Shelf:
    """What the server has and how it behaves. ``ranges`` lists the Range header of every request that came."""

    port: int = 0
    content: bytes = CONTENT
    etag: str | None = '"v1"'
    takes_ranges: bool = True
    says_length: bool = True
    content_type: str = "application/octet-stream"
    cut_after: list[int] = field(default_factory=list)
    status: list[int] = field(default_factory=list)
    redirect_to: str | None = None
    says_all_is: tuple[int, str] | None = None
    """The status, and the Content-Range, with which it sends all though a part was asked for."""
    pause_s: float = 0.0
    ranges: list[str | None] = field(default_factory=list)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}/{NAME}"


class Handler(BaseHTTPRequestHandler):
    shelf: Shelf

    def log_message(self, format: str, *args: Any) -> None:
        pass

    def do_GET(self) -> None:
        shelf = self.shelf
        if shelf.redirect_to and self.path == f"/{NAME}":
            self.send_response(302)
            self.send_header("Location", shelf.redirect_to)
            self.end_headers()
            return
        shelf.ranges.append(self.headers["Range"])
        if shelf.status:
            self.send_error(shelf.status.pop(0))
            return
        self._send(self._start())

    def _start(self) -> int:
        if self.shelf.says_all_is and self.headers["Range"]:
            status, part = self.shelf.says_all_is
            self.send_response(status)
            self.send_header("Content-Range", part)
            return 0
        wanted = re.fullmatch(r"bytes=(\d+)-", self.headers["Range"] or "")
        if not wanted or not self.shelf.takes_ranges or self.headers["If-Range"] != self.shelf.etag:
            self.send_response(200)
            return 0
        self.send_response(206)
        last = len(self.shelf.content) - 1
        self.send_header("Content-Range", f"bytes {wanted[1]}-{last}/{last + 1}")
        return int(wanted[1])

    def _send(self, start: int) -> None:
        shelf, body = self.shelf, self.shelf.content[start:]
        self.send_header("Content-Type", shelf.content_type)
        if shelf.says_length:
            self.send_header("Content-Length", str(len(body)))
        if shelf.etag:
            self.send_header("ETag", shelf.etag)
        self.end_headers()
        end = shelf.cut_after.pop(0) if shelf.cut_after else len(body)
        time.sleep(shelf.pause_s)
        try:
            self.wfile.write(body[:end])
        except ConnectionError:
            self.close_connection = True  # the client had seen enough


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(download, "WAITS_S", (0.0, 0.0, 0.0))
    monkeypatch.setenv("no_proxy", "*")


@pytest.fixture
def shelf() -> Iterator[Shelf]:
    shelf = Shelf()
    server = ThreadingHTTPServer(("127.0.0.1", 0), type("Bound", (Handler,), {"shelf": shelf}))
    shelf.port = server.server_port
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    yield shelf
    server.shutdown()
    thread.join()
    server.server_close()


def write_manifest(folder: Path, source: str, size: int | None = len(CONTENT), sha256: str = SHA256) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / "manifest.yaml"
    path.write_text(
        f"""# a comment
files:
  {NAME}:
    bytes: {"null" if size is None else size}
    sha256: "{sha256}"
    licence: MIT
    source: {source}
    sha256_from: its authors
presets:
  studio:
    models:
      mdx: {{family: mdx, files: {{all: {NAME}}}}}
"""
    )
    return path


def make_store(tmp_path: Path, source: str, size: int | None = len(CONTENT)) -> ModelStore:
    return ModelStore(tmp_path / "models", Manifest.load(write_manifest(tmp_path, source, size)))


def left_over(store: ModelStore) -> set[str]:
    """What lies in the folder, the lock aside."""
    return {path.name for path in store.folder.iterdir() if not path.name.endswith(".lock")}


def test_fetch_brings_the_file_and_tells_how_far_it_is(tmp_path: Path, shelf: Shelf) -> None:
    store, seen = make_store(tmp_path, shelf.url), list[tuple[str, int, int]]()
    with pytest.raises(ModelMissingError, match=r"run `python run_bot.py models fetch studio`"):
        store.path(NAME)
    paths = store.fetch("studio", lambda *progress: seen.append(progress))
    assert paths == [store.path(NAME)] == [tmp_path / "models" / NAME]
    assert paths[0].read_bytes() == CONTENT
    assert left_over(store) == {NAME}
    assert seen[-1] == (NAME, len(CONTENT), len(CONTENT))
    assert [done for _, done, _ in seen] == sorted(done for _, done, _ in seen)


def test_a_file_that_is_here_costs_no_request(tmp_path: Path, shelf: Shelf) -> None:
    make_store(tmp_path, shelf.url).fetch("studio")
    assert make_store(tmp_path, shelf.url).fetch("studio")[0].read_bytes() == CONTENT
    assert shelf.ranges == [None]


def test_a_damaged_file_is_reported_and_replaced(tmp_path: Path, shelf: Shelf) -> None:
    store = make_store(tmp_path, shelf.url)
    path = store.fetch("studio")[0]
    path.write_bytes(b"x" + CONTENT[1:])
    assert [status.state for status in store.status()] == ["here"]
    again = make_store(tmp_path, shelf.url)
    with pytest.raises(ChecksumError, match=r"models fetch studio"):
        again.path(NAME)
    (status,) = again.verify()
    assert status.state == "damaged"
    assert "models fetch studio" in status.problem
    assert again.fetch("studio")[0].read_bytes() == CONTENT
    assert [status.state for status in again.verify()] == ["intact"]


@pytest.mark.parametrize("says_length", [True, False])
def test_a_cut_connection_is_resumed(tmp_path: Path, shelf: Shelf, says_length: bool) -> None:
    shelf.cut_after, shelf.says_length = [500_000, 100_000], says_length
    assert make_store(tmp_path, shelf.url).fetch("studio")[0].read_bytes() == CONTENT
    assert shelf.ranges == [None, "bytes=500000-", "bytes=600000-"]


def test_a_connection_that_breaks_again_and_again_brings_it_all_in_the_end(tmp_path: Path, shelf: Shelf) -> None:
    shelf.cut_after = [100_000] * 10
    assert make_store(tmp_path, shelf.url).fetch("studio")[0].read_bytes() == CONTENT
    assert len(shelf.ranges) == 11


def test_one_that_breaks_and_begins_anew_each_time_is_given_up(tmp_path: Path, shelf: Shelf) -> None:
    shelf.cut_after, shelf.takes_ranges = [500_000] * 10, False
    with pytest.raises(NoNetworkError):
        make_store(tmp_path, shelf.url).fetch("studio")
    assert len(shelf.ranges) == 4


def test_a_later_fetch_goes_on_where_the_first_gave_up(tmp_path: Path, shelf: Shelf) -> None:
    shelf.cut_after = [400_000, 0, 0, 0]
    store = make_store(tmp_path, shelf.url)
    with pytest.raises(NoNetworkError, match=r"127\.0\.0\.1: the connection broke off after 400,000 of 1,048,576"):
        store.fetch("studio")
    assert not (store.folder / NAME).exists()
    assert make_store(tmp_path, shelf.url).fetch("studio")[0].read_bytes() == CONTENT
    assert shelf.ranges[-1] == "bytes=400000-"
    assert left_over(store) == {NAME}


def test_a_whole_part_that_only_lacks_its_name_is_not_fetched_again(tmp_path: Path, shelf: Shelf) -> None:
    store = make_store(tmp_path, shelf.url)
    store.folder.mkdir()
    (store.folder / f"{NAME}.part").write_bytes(CONTENT)
    assert store.fetch("studio")[0].read_bytes() == CONTENT
    assert shelf.ranges == []


def test_a_whole_part_of_another_version_is_fetched_anew(tmp_path: Path, shelf: Shelf) -> None:
    store = make_store(tmp_path, shelf.url)
    store.folder.mkdir()
    (store.folder / f"{NAME}.part").write_bytes(bytes(len(CONTENT)))
    assert store.fetch("studio")[0].read_bytes() == CONTENT
    assert shelf.ranges == [None]


@pytest.mark.parametrize("change", [{"takes_ranges": False}, {"etag": None}, {"etag": 'W/"weak"'}])
def test_a_server_that_cannot_resume_is_asked_anew(tmp_path: Path, shelf: Shelf, change: dict[str, Any]) -> None:
    shelf.cut_after = [500_000]
    vars(shelf).update(change)
    assert make_store(tmp_path, shelf.url).fetch("studio")[0].read_bytes() == CONTENT
    assert len(shelf.ranges) == 2


@pytest.mark.parametrize("says", [(206, f"bytes 0-{len(CONTENT) - 1}/{len(CONTENT)}"), (200, "bytes 500000-")])
def test_only_the_part_that_was_asked_for_is_put_after_what_is_there(
    tmp_path: Path, shelf: Shelf, says: tuple[int, str]
) -> None:
    shelf.cut_after, shelf.says_all_is = [500_000], says
    assert make_store(tmp_path, shelf.url).fetch("studio")[0].read_bytes() == CONTENT
    assert shelf.ranges == [None, "bytes=500000-"]


def test_a_source_that_changed_in_between_is_fetched_from_its_start(tmp_path: Path, shelf: Shelf) -> None:
    shelf.content, shelf.etag, shelf.cut_after = b"old" + CONTENT[3:], '"v0"', [500_000, 0, 0, 0]
    store = make_store(tmp_path, shelf.url)
    with pytest.raises(NoNetworkError):
        store.fetch("studio")
    shelf.content, shelf.etag = CONTENT, '"v1"'
    assert store.fetch("studio")[0].read_bytes() == CONTENT


def test_what_a_power_cut_left_of_a_validator_is_no_validator(tmp_path: Path, shelf: Shelf) -> None:
    store = make_store(tmp_path, shelf.url)
    store.folder.mkdir()
    (store.folder / f"{NAME}.part").write_bytes(CONTENT[:1000])
    (store.folder / f"{NAME}.part.etag").write_bytes(b'"\xff\xfe\0')
    assert store.fetch("studio")[0].read_bytes() == CONTENT
    assert shelf.ranges == [None]


def test_a_folder_in_which_nobody_may_look_is_a_sentence(tmp_path: Path, shelf: Shelf) -> None:
    store = make_store(tmp_path, shelf.url)
    store.folder = tmp_path / ("x" * 300)  # no system lets this be looked for
    with pytest.raises(ModelError, match="cannot be read: "):
        store.status()


def test_a_range_that_is_not_satisfiable_starts_anew(tmp_path: Path, shelf: Shelf) -> None:
    store = make_store(tmp_path, shelf.url)
    store.folder.mkdir()
    (store.folder / f"{NAME}.part").write_bytes(CONTENT + b"too much")
    (store.folder / f"{NAME}.part.etag").write_text('"v1"')
    shelf.status = [416]
    assert store.fetch("studio")[0].read_bytes() == CONTENT
    assert shelf.ranges == [f"bytes={len(CONTENT) + 8}-", None]


def test_a_wrong_content_is_thrown_away(tmp_path: Path, shelf: Shelf) -> None:
    shelf.content = b"x" + CONTENT[1:]
    store = make_store(tmp_path, shelf.url)
    with pytest.raises(ChecksumError, match=r"127\.0\.0\.1 sent something else as model\.onnx: its SHA-256 begins"):
        store.fetch("studio")
    assert left_over(store) == set()
    assert len(shelf.ranges) == 1


def test_a_login_page_in_between_costs_nothing_of_what_is_there(tmp_path: Path, shelf: Shelf) -> None:
    shelf.cut_after = [400_000, 0, 0, 0]
    store = make_store(tmp_path, shelf.url)
    with pytest.raises(NoNetworkError):
        store.fetch("studio")
    shelf.content, shelf.etag = b"<html>please log in</html>", None
    with pytest.raises(ChecksumError, match=r"26 bytes, not 1,048,576"):
        store.fetch("studio")
    shelf.content, shelf.etag = CONTENT, '"v1"'
    assert store.fetch("studio")[0].read_bytes() == CONTENT
    assert shelf.ranges[-1] == "bytes=400000-"


def test_a_web_page_in_place_of_a_model_is_told_at_once(tmp_path: Path, shelf: Shelf) -> None:
    shelf.content, shelf.content_type, shelf.says_length = b"<html>log in</html>", "text/html; charset=utf-8", False
    store = make_store(tmp_path, shelf.url)
    with pytest.raises(ModelError, match=r"^127\.0\.0\.1 sent a web page in place of model\.onnx$"):
        store.fetch("studio")
    assert (len(shelf.ranges), left_over(store)) == (1, set())


def test_another_size_is_not_even_read(tmp_path: Path, shelf: Shelf) -> None:
    shelf.content = b"<html>please log in</html>"
    store = make_store(tmp_path, shelf.url)
    with pytest.raises(ChecksumError, match=r"26 bytes, not 1,048,576"):
        store.fetch("studio")
    assert left_over(store) == set()


def test_a_body_longer_than_promised_is_stopped(tmp_path: Path, shelf: Shelf) -> None:
    shelf.content, shelf.says_length = CONTENT * 20, False
    store, seen = make_store(tmp_path, shelf.url), list[int]()
    with pytest.raises(ChecksumError, match=r"more than the 1,048,576 bytes"):
        store.fetch("studio", lambda _, done, __: seen.append(done))
    assert max(seen) <= len(CONTENT)
    assert left_over(store) == set()


def test_not_found_is_one_sentence_at_once(tmp_path: Path, shelf: Shelf) -> None:
    shelf.status = [404]
    with pytest.raises(ModelError, match=r"^model\.onnx could not be fetched: 127\.0\.0\.1 answered 404 Not Found$"):
        make_store(tmp_path, shelf.url).fetch("studio")
    assert len(shelf.ranges) == 1


def test_a_server_that_is_busy_is_asked_again(tmp_path: Path, shelf: Shelf) -> None:
    shelf.status = [503, 429, 500]
    assert make_store(tmp_path, shelf.url).fetch("studio")[0].read_bytes() == CONTENT
    shelf.status = [503] * 9
    with pytest.raises(NoNetworkError, match=r"answered 503"):
        make_store(tmp_path / "other", shelf.url).fetch("studio")
    assert len(shelf.status) == 5


def test_no_server_is_one_sentence_with_the_host(tmp_path: Path) -> None:
    store = make_store(tmp_path, "http://127.0.0.1:9/model.onnx")
    with pytest.raises(
        NoNetworkError, match=r"^model\.onnx could not be fetched from 127\.0\.0\.1: Connection refused$"
    ):
        store.fetch("studio")
    assert left_over(store) == set()


@pytest.mark.parametrize("url", ["http://example.org/model.onnx", "ftp://example.org/m", "file:///etc/passwd"])
def test_only_https_is_fetched_or_followed(tmp_path: Path, shelf: Shelf, url: str) -> None:
    with pytest.raises(ModelError, match=r"only https is"):
        make_store(tmp_path, url).fetch("studio")
    shelf.redirect_to = url
    with pytest.raises(ModelError, match=r"127\.0\.0\.1"):
        make_store(tmp_path, shelf.url).fetch("studio")
    assert shelf.ranges == []


def test_a_page_elsewhere_cannot_send_the_fetch_to_this_machine() -> None:
    assert not download._allowed("http://127.0.0.1/x", "https://example.org/x")
    assert download._allowed("https://cdn.example.org/x", "https://example.org/x")


def test_a_full_disk_is_one_sentence(tmp_path: Path, shelf: Shelf) -> None:
    if not Path("/dev/full").exists():
        pytest.skip("no /dev/full here")
    store = make_store(tmp_path, shelf.url)
    store.folder.mkdir()
    (store.folder / f"{NAME}.part").symlink_to("/dev/full")
    with pytest.raises(OutputError, match=r"No space left on device"):
        store.fetch("studio")
    assert not (store.folder / NAME).exists()


def test_a_folder_that_cannot_be_made_is_one_sentence(tmp_path: Path, shelf: Shelf) -> None:
    store = make_store(tmp_path, shelf.url)
    store.folder.write_text("a file is in the way")
    with pytest.raises(OutputError, match=r"models cannot be written to: File exists"):
        store.fetch("studio")


def test_two_processes_fetch_at_once(tmp_path: Path, shelf: Shelf) -> None:
    shelf.pause_s = 0.5
    manifest = write_manifest(tmp_path, shelf.url)
    code = (
        "import sys; from pathlib import Path; from spectacles_engine.manifest import Manifest;"
        "from spectacles_engine.models import ModelStore;"
        "print(ModelStore(Path(sys.argv[1]), Manifest.load(Path(sys.argv[2]))).fetch('studio')[0].stat().st_size)"
    )
    command = [sys.executable, "-c", code, str(tmp_path / "models"), str(manifest)]
    both = [subprocess.Popen(command, stdout=subprocess.PIPE, cwd=ROOT) for _ in range(2)]
    assert [int(process.communicate(timeout=30)[0]) for process in both] == [len(CONTENT)] * 2
    assert shelf.ranges == [None]


def test_a_file_whose_size_nobody_states_is_held_to_its_sum(tmp_path: Path, shelf: Shelf) -> None:
    store = make_store(tmp_path, shelf.url, size=None)
    assert store.fetch("studio")[0].read_bytes() == CONTENT
    assert [(status.state, status.size_bytes) for status in store.verify()] == [("intact", len(CONTENT))]
    shelf.content = b"cut short by a proxy"
    with pytest.raises(ChecksumError, match=r"sent something else"):
        make_store(tmp_path / "other", shelf.url, size=None).fetch("studio")


def test_a_redirect_on_this_machine_is_followed(tmp_path: Path, shelf: Shelf) -> None:
    shelf.redirect_to = f"http://127.0.0.1:{shelf.port}/storage"
    assert make_store(tmp_path, shelf.url).fetch("studio")[0].read_bytes() == CONTENT


def test_a_redirect_in_a_circle_is_a_sentence(tmp_path: Path, shelf: Shelf) -> None:
    shelf.redirect_to = shelf.url
    with pytest.raises(ModelError, match=r"127\.0\.0\.1 answered 302 again and again: Found$"):
        make_store(tmp_path, shelf.url).fetch("studio")


def test_a_redirect_to_no_address_at_all_is_a_sentence(tmp_path: Path, shelf: Shelf) -> None:
    shelf.redirect_to = "http://[::1"
    with pytest.raises(NoNetworkError, match=r"from 127\.0\.0\.1: Invalid IPv6 URL$"):
        make_store(tmp_path, shelf.url).fetch("studio")


def test_a_file_of_ones_own_may_lie_below_the_home_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    (tmp_path / "mixer").write_bytes(CONTENT)
    file = Manifest.load().with_own("studio", Path("~/mixer"), None).files[str(tmp_path / "mixer")]
    assert (file.size_bytes, file.sha256) == (len(CONTENT), SHA256)


def test_embedded_files_lie_beside_the_manifest_and_are_refreshed(tmp_path: Path) -> None:
    manifest = write_manifest(tmp_path, EMBEDDED, 0, "")
    assert refresh(manifest) == [NAME]
    (tmp_path / NAME).write_bytes(CONTENT)
    (tmp_path / NAME).chmod(0o600)
    with pytest.raises(ChecksumError, match=r"spectacles_engine\.models refresh"):
        ModelStore(tmp_path / "models", Manifest.load(manifest)).path(NAME)
    assert refresh(manifest) == []
    if os.name == "posix":
        assert (tmp_path / NAME).stat().st_mode & 0o777 == 0o644
    store = ModelStore(tmp_path / "models", Manifest.load(manifest))
    assert store.fetch("studio") == [tmp_path / NAME]
    assert [(status.state, status.size_bytes) for status in store.verify()] == [("intact", len(CONTENT))]
    assert manifest.read_text().startswith("# a comment")
    assert not store.folder.exists()
    (tmp_path / NAME).unlink()
    with pytest.raises(ModelMissingError, match=r"install SpecTacles again"):
        ModelStore(tmp_path / "models", Manifest.load(manifest)).fetch("studio")


def test_status_shows_a_wrong_size_without_reading(tmp_path: Path) -> None:
    store = make_store(tmp_path, "https://example.org/model.onnx")
    (status,) = store.status()
    assert (status.state, status.presets, status.file.licence) == ("missing", ("studio",), "MIT")
    store.folder.mkdir()
    (store.folder / NAME).write_bytes(b"short")
    assert [status.state for status in store.status()] == ["damaged"]
    (store.folder / NAME).write_bytes(b"x" * len(CONTENT))
    assert [status.state for status in store.status()] == ["here"]


def test_names_that_nobody_knows(tmp_path: Path) -> None:
    store = ModelStore(tmp_path)
    with pytest.raises(ModelError, match=r"there is no preset 'huge', only lite, studio"):
        store.preset("huge")
    with pytest.raises(ModelMissingError, match=r"no model file is called '\.\./x'"):
        store.path("../x")


def test_the_manifest_of_the_package() -> None:
    manifest = Manifest.load()
    assert tuple(manifest.presets) == PRESETS
    lite, studio = manifest.presets.values()
    assert [(model.name, model.front) for model in lite.models] == [
        ("spleeter-vocals", True),
        ("spleeter-accompaniment", True),
        ("demucs", False),
        ("mdx", False),
        ("mdx-low", False),
    ]
    assert lite.mixers
    assert lite.quality
    assert {model.family for model in lite.models} == set(FAMILIES)
    assert all(manifest.files[name].embedded for name in lite.file_names)
    assert [model.name for model in studio.models] == ["demucs", "mdx"]
    assert studio.models[1].n_fft == {"vocals": 6144, "drums": 4096, "bass": 16384, "other": 8192}
    assert studio.shares == {"mdx": {"vocals": 0.9, "drums": 0.5, "bass": 0.5, "other": 0.7}}
    assert all(model.files.keys() == set(STEMS) for model in studio.models)
    fetched = [manifest.files[name] for name in studio.file_names]
    assert all(file.source.startswith("https://") and file.sha256 and file.size_bytes for file in fetched)
    assert not any(file.source.endswith((".th", ".pt", ".ckpt")) for file in fetched)


def test_the_embedded_files_of_the_package_that_are_recorded_are_intact(tmp_path: Path) -> None:
    recorded = [status for status in ModelStore(tmp_path).verify() if status.file.embedded and status.file.sha256]
    assert recorded
    assert all(status.state == "intact" for status in recorded)


@pytest.mark.parametrize(
    ("old", "new", "complaint"),
    [
        ("    licence: MIT\n", "", r"files\.model\.onnx .* lacks licence"),
        ("licence: MIT", "licence: 7", r"files\.model\.onnx\.licence .* must be str"),
        (f"  {NAME}:\n", "  ../x:\n", r"must be a plain file name"),
        (SHA256, "abc", r"must be 64 lower-case hex digits"),
        (SHA256, "", r"must be 64 lower-case hex digits"),
        (f'"{SHA256}"', "null", r"files\.model\.onnx\.sha256 .* must be str"),
        (f'    sha256: "{SHA256}"\n', "", r"files\.model\.onnx .* lacks sha256"),
        ("family: mdx", "family: magic", r"must be one of spleeter, demucs, mdx"),
        ("family: mdx", "family: mdx, front: back", r"models\.mdx\.front in the manifest of models must be bool"),
        ("family: mdx", "family: mdx, front: true", r"must hold one that is not `front`"),
        ("family: mdx", "family: mdx, n_fft: {all: true}", r"n_fft\.all .* must be int"),
        ("family: mdx", "family: mdx, n_fft: {bass: 4096}", r"must have the keys of files"),
        ("family: mdx", "family: mdx, up_to_hz: low", r"up_to_hz .* must be int"),
        ("{all: model.onnx}", "{kazoo: model.onnx}", r"must name stems, or `all` or `accompaniment` alone"),
        ("{all: model.onnx}", "{all: other.onnx}", r"presets differ in model\.onnx, other\.onnx"),
        ("    models:", "    shares: {mdx: {bass: 1.5}}\n    models:", r"give bass more than 1 in all"),
        ("    models:", "    shares: {mdx: {bass: half}}\n    models:", r"must be numbers from 0 to 1"),
        ("    models:", "    shares: {mdx: {bass: -0.5}}\n    models:", r"shares\.mdx .* must be numbers from 0 to 1"),
        ("    models:", "    shares: {mdx: {bass: true}}\n    models:", r"shares\.mdx .* must be numbers from 0 to 1"),
        ("    models:", "    shares: {mdx: {kazoo: 0.5}}\n    models:", r"shares\.mdx .* must name stems"),
        ("    models:", "    shares: {demucs: {bass: 1}}\n    models:", r"must name models among mdx"),
        ("    models:", "    colour: red\n    models:", r"has an unknown key colour"),
        ("presets:", "presets: [", r"cannot be read"),
    ],
)
def test_a_mistake_in_a_manifest_names_its_place(tmp_path: Path, old: str, new: str, complaint: str) -> None:
    path = write_manifest(tmp_path, "https://example.org/model.onnx")
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new))
    with pytest.raises(ModelError, match=complaint):
        Manifest.load(path)


def test_describe_and_a_manifest_made_by_hand(tmp_path: Path, shelf: Shelf) -> None:
    (tmp_path / "x").write_bytes(CONTENT)
    assert describe(tmp_path / "x") == (len(CONTENT), SHA256)
    manifest = Manifest.load(write_manifest(tmp_path, "https://example.org/model.onnx"))
    moved = replace(manifest, files={NAME: replace(manifest.files[NAME], source=shelf.url)})
    assert ModelStore(tmp_path / "models", moved).fetch("studio")[0].read_bytes() == CONTENT
