import hashlib
import io
import json
import stat
import types
import warnings
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import requests
from PIL import Image

from medres import images
from medres.datasets import fetch, ledger, source
from medres.datasets.fetch import gdc
from medres.datasets.fetch.progress import Progress
from medres.datasets.fetch.transfer import Client, Patience
from medres.datasets.source import File, Source
from tests.faulty_server import FaultyServer, only_loopback, start_server  # noqa: F401

pytestmark = pytest.mark.usefixtures("only_loopback")

QUICK = Patience(stall_s=0.25, attempts=3, wait_s=0.01)
CONTENT = np.random.default_rng(0).bytes(300_000)
SHA256 = hashlib.sha256(CONTENT).hexdigest()
URL = "https://data.example.org/set/images.bin"


@pytest.fixture
def web(server: FaultyServer) -> FaultyServer:
    server.put(URL, CONTENT)
    return server


@pytest.fixture
def downloader(web: FaultyServer, tmp_path: Path) -> fetch.Downloader:
    folder = tmp_path / "set"
    folder.mkdir()
    return fetch.Downloader(folder, mirror=web.mirror, patience=QUICK)


def path_of(server: FaultyServer, url: str = URL) -> str:
    return server.mirror[server.mirror.index("/mirror") :] + url.removeprefix("https:/")


def a_set(**facts: Any) -> types.ModuleType:
    """A data set that is only a SOURCE."""
    module = types.ModuleType("drawn")
    told = {
        "name": "drawn",
        "title": "Drawn pictures",
        "citation": "Somebody 2020",
        "home": "https://data.example.org",
        "licence": "CC0",
        "version": "1",
        "size_bytes": 1000,
        "group": "image",
        "defects": ("none known",),
    }
    module.SOURCE = Source(**{**told, **facts})  # type: ignore[attr-defined]
    return module


def zipped(members: dict[str, bytes], link: str = "") -> bytes:
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in members.items():
            info = zipfile.ZipInfo(name)
            info.compress_type = zipfile.ZIP_DEFLATED
            if name == link:
                info.external_attr = (stat.S_IFLNK | 0o777) << 16
            archive.writestr(info, content)
    return packed.getvalue()


# What a bad line does, and that the right file comes all the same.
RIGHT = {
    "nothing": [],
    "a cut body": ["cut:100000"],
    "two cuts": ["cut:100000", "cut:50000"],
    "a cut before the first byte": ["cut:0"],
    "a stall": ["stall:100000"],
    "a reset": ["reset:70000"],
    "a server error": ["status:500", "status:503"],
    "too many requests": ["status:429"],
    "a range that is ignored": ["cut:100000", "no-range"],
    "a range that begins elsewhere": ["cut:100000", "shifted"],
    "no mark of the version": ["cut:100000", "no-mark"],
    "a weak mark": ["weak-mark"],
    "chunks": ["chunked"],
    "cut chunks": ["chunked-cut"],
    "a length that is too long": ["long"],
    "a range that is refused": ["cut:100000", "status:416"],
}


@pytest.mark.parametrize("faults", RIGHT.values(), ids=RIGHT)
@pytest.mark.parametrize("sha256", ["", SHA256], ids=["hash unknown", "hash known"])
def test_the_right_file_comes_in_spite_of(
    web: FaultyServer, downloader: fetch.Downloader, faults: list[str], sha256: str
) -> None:
    web.faults[path_of(web)] = list(faults)
    path = downloader.get(URL, "a/images.bin", sha256=sha256)
    assert path == downloader.folder / "a" / "images.bin"
    assert path.read_bytes() == CONTENT
    assert web.faults[path_of(web)] == []
    assert downloader.kept.files["a/images.bin"] == {
        "path": "a/images.bin",
        "url": URL,
        "sha256": SHA256,
        "size_bytes": len(CONTENT),
    }
    assert [each.name for each in path.parent.iterdir()] == ["images.bin"]


# What cannot be mended, and the words that say so. `always` is repeated without end.
WRONG: dict[str, tuple[str, dict[str, Any], type[Exception], str]] = {
    "forbidden": ("status:403", {}, PermissionError, "refuses it .403"),
    "login needed": ("status:401", {}, PermissionError, "refuses it .401"),
    "not found": ("status:404", {}, FileNotFoundError, "no such file .404"),
    "gone": ("status:410", {}, FileNotFoundError, "no such file .410"),
    "teapot": ("status:418", {}, ValueError, "answered 418"),
    "server errors without end": ("status:500", {}, ConnectionError, "given up.*500"),
    "stalls without end": ("stall:10", {}, ConnectionError, "given up.*no more data came"),
    "resets without end": ("reset:0", {}, ConnectionError, "given up.*connection broke"),
    "cuts without end": ("cut:0", {}, ConnectionError, "given up.*connection broke"),
    "too long a length without end": ("long", {}, ConnectionError, "given up"),
    "chunks that end too soon": (
        "chunked",
        {"size_bytes": 300_001},
        ConnectionError,
        "given up.*300,000 bytes came of 300,001",
    ),
    "chunks cut without end": ("chunked-cut", {}, ConnectionError, "given up"),
    "altered bytes": ("corrupt", {"sha256": SHA256}, ValueError, f"sha256 .*, not {SHA256}"),
    "altered bytes, md5": ("corrupt", {"md5": "0" * 32}, ValueError, f"md5 .*, not {'0' * 32}"),
    "another size": ("", {"size_bytes": 7}, ValueError, "offers 300,000 bytes where 7 are"),
    "too short a length, size known": (
        "short",
        {"size_bytes": len(CONTENT)},
        ValueError,
        "offers 299,990 bytes where 300,000",
    ),
    "too short a length, hash known": ("short", {"sha256": SHA256}, ValueError, "sha256"),
    "no length at all": ("open", {}, ValueError, "does not say how long"),
    "an empty file": ("empty", {}, ValueError, "empty file"),
    "packed on the way": ("packed", {}, ValueError, "compresses the file"),
    "redirections in a circle": (f"redirect:{URL}", {}, ValueError, "redirected more than"),
}


@pytest.mark.parametrize(("fault", "known", "error", "words"), WRONG.values(), ids=WRONG)
def test_no_file_but_a_named_error_comes_of(
    web: FaultyServer,
    downloader: fetch.Downloader,
    fault: str,
    known: dict[str, Any],
    error: type[Exception],
    words: str,
) -> None:
    web.always[path_of(web)] = fault
    with pytest.raises(error, match=words) as caught:
        downloader.get(URL, "images.bin", **known)
    assert "data.example.org/set/images.bin" in str(caught.value)
    assert "\n" not in str(caught.value)
    assert not (downloader.folder / "images.bin").exists()
    assert downloader.kept.files == {}


def test_a_hash_that_differs_removes_the_bytes(
    web: FaultyServer, downloader: fetch.Downloader
) -> None:
    with pytest.raises(ValueError, match=f"sha256 {SHA256}, not {'0' * 64}"):
        downloader.get(URL, "images.bin", sha256="0" * 64)
    assert list(downloader.folder.iterdir()) == []


def test_a_resumed_download_asks_only_for_what_is_missing(
    web: FaultyServer, downloader: fetch.Downloader
) -> None:
    web.faults[path_of(web)] = ["stall:131072"]
    downloader.get(URL, "images.bin")
    first, second = web.gets("images.bin")
    assert "Range" not in first
    assert second["Range"] == "bytes=131072-"
    assert second["If-Range"] == f'"{hashlib.sha1(CONTENT).hexdigest()}"'
    assert web.sent_bytes[path_of(web)] == len(CONTENT)


@pytest.mark.parametrize(
    ("fault", "growth"),
    [("", 0), ("", 5000), ("no-if-range", 0), ("no-if-range", 5000), ("blind", 5000)],
)
def test_a_file_that_changed_in_between_is_got_anew(
    web: FaultyServer, downloader: fetch.Downloader, fault: str, growth: int
) -> None:
    changed = np.random.default_rng(1).bytes(len(CONTENT) + growth)
    web.faults[path_of(web)] = ["cut:131072"] * 3
    with pytest.raises(ConnectionError):
        Client(mirror=web.mirror, patience=Patience(attempts=1)).download(
            URL, downloader.folder / "images.bin.part"
        )
    web.put(URL, changed)
    web.faults[path_of(web)] = [fault]
    assert downloader.get(URL, "images.bin").read_bytes() == changed


def test_pieces_of_two_versions_are_found_by_the_hash_and_got_anew(
    web: FaultyServer, downloader: fetch.Downloader
) -> None:
    part = downloader.folder / "images.bin.part"
    part.write_bytes(b"x" * 1000)
    said = {"url": URL, "mark": "", "total": len(CONTENT)}
    part.with_name("images.bin.part.json").write_text(json.dumps(said))
    assert downloader.get(URL, "images.bin", sha256=SHA256).read_bytes() == CONTENT
    assert [headers.get("Range") for headers in web.gets("images.bin")] == ["bytes=1000-", None]


def test_pieces_without_mark_or_hash_are_not_joined(
    web: FaultyServer, downloader: fetch.Downloader
) -> None:
    part = downloader.folder / "images.bin.part"
    part.write_bytes(b"x" * 1000)
    said = {"url": URL, "mark": "", "total": len(CONTENT)}
    part.with_name("images.bin.part.json").write_text(json.dumps(said))
    assert downloader.get(URL, "images.bin").read_bytes() == CONTENT


def test_bytes_of_unknown_origin_are_not_gone_on_from(
    web: FaultyServer, downloader: fetch.Downloader
) -> None:
    (downloader.folder / "images.bin.part").write_bytes(b"x" * 1000)
    assert downloader.get(URL, "images.bin").read_bytes() == CONTENT
    assert "Range" not in web.gets("images.bin")[0]


def test_a_bad_line_that_still_brings_a_megabyte_each_time_is_not_given_up(
    web: FaultyServer, downloader: fetch.Downloader
) -> None:
    content = np.random.default_rng(2).bytes(9 << 20)
    web.put(URL, content)
    web.always[path_of(web)] = f"cut:{(1 << 20) + 70_000}"
    assert downloader.get(URL, "images.bin").read_bytes() == content
    assert len(web.gets("images.bin")) > 2 * QUICK.attempts


def test_a_file_that_is_there_is_not_got_again_unless_its_bytes_changed(
    web: FaultyServer, downloader: fetch.Downloader
) -> None:
    path = downloader.get(URL, "images.bin")
    again = fetch.Downloader(downloader.folder, mirror=web.mirror, patience=QUICK)
    again.get(URL, "images.bin", sha256=SHA256)
    assert len(web.gets("images.bin")) == 1
    path.write_bytes(b"y" * len(CONTENT))
    again.get(URL, "images.bin")
    assert len(web.gets("images.bin")) == 2
    assert path.read_bytes() == CONTENT


def test_a_file_of_another_address_takes_the_place_of_the_old_one(
    web: FaultyServer, downloader: fetch.Downloader
) -> None:
    downloader.get(URL, "images.bin")
    web.put("https://data.example.org/set/v2.bin", b"second version")
    path = downloader.get("https://data.example.org/set/v2.bin", "images.bin")
    assert path.read_bytes() == b"second version"


@pytest.mark.parametrize("path", ["../out.bin", "/out.bin", "a/../../out.bin", "a\\b", ""])
def test_no_path_leads_out_of_the_folder(downloader: fetch.Downloader, path: str) -> None:
    with pytest.raises(ValueError, match="leads out of"):
        downloader.get(URL, path)


def test_a_full_disk_is_known_before_the_download(
    downloader: fetch.Downloader, tmp_path: Path
) -> None:
    with pytest.raises(OSError, match=r"slide x needs 1000\.0 PB, .* are free at .*set"):
        downloader.require_room(10**18, "slide x")
    module = a_set(files=(File(URL, "images.bin"),), size_bytes=10**18)
    with pytest.raises(OSError, match=r"drawn needs 1000\.0 PB"):
        fetch.fetch_set(module, tmp_path / "all", mirror=downloader.client.mirror)
    assert not (tmp_path / "all" / "images.bin").exists()


def test_redirections_to_other_hosts_go_through_the_mirror(
    web: FaultyServer, downloader: fetch.Downloader
) -> None:
    web.put("https://storage.example.net/abc", CONTENT)
    first, second = path_of(web), path_of(web, "https://data.example.org/moved")
    web.always[first] = "redirect:/moved"
    web.always[second] = "redirect:https://storage.example.net/abc?key=1"
    assert downloader.get(URL, "images.bin").read_bytes() == CONTENT
    assert [path for method, path, _ in web.asked if method == "GET"] == [
        first,
        second,
        "/mirror/storage.example.net/abc?key=1",
    ]
    assert downloader.kept.files["images.bin"]["url"] == URL


class Recorder(requests.adapters.BaseAdapter):
    """Answers for the hub and its storage without a network, and keeps what was sent."""

    def __init__(self) -> None:
        super().__init__()
        self.sent: list[tuple[str, str]] = []

    def send(self, request: requests.PreparedRequest, *_: Any, **__: Any) -> requests.Response:
        self.sent.append((str(request.url), str(request.headers.get("Authorization"))))
        response = requests.Response()
        response.request, response.url = request, str(request.url)
        response.raw = io.BytesIO(b"[]")
        is_hub = "huggingface.co" in response.url
        response.status_code = 302 if is_hub else 200
        response.headers["Location"] = "https://cas.example.net/x" if is_hub else ""
        return response

    def close(self) -> None:
        pass


def test_the_token_goes_to_the_hub_and_nowhere_else(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_TOKEN", "hf_secret")
    client, recorder = Client(patience=QUICK), Recorder()
    client.session.mount("https://", recorder)
    client.json("https://huggingface.co/api/datasets/a/b")
    client.json("https://nothuggingface.example.org/x")
    assert recorder.sent == [
        ("https://huggingface.co/api/datasets/a/b", "Bearer hf_secret"),
        ("https://cas.example.net/x", "None"),
        ("https://nothuggingface.example.org/x", "None"),
    ]


def test_a_mirror_never_sees_the_token(
    web: FaultyServer, downloader: fetch.Downloader, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HF_TOKEN", "hf_secret")
    web.put("https://huggingface.co/x", b"[]")
    downloader.json("https://huggingface.co/x")
    assert "Authorization" not in web.gets("huggingface.co")[0]


def test_a_login_page_in_place_of_an_answer_is_named(
    web: FaultyServer, downloader: fetch.Downloader
) -> None:
    web.put(URL, b"<html>please log in</html>")
    with pytest.raises(ValueError, match="not JSON; is a login page"):
        downloader.json(URL)


def test_an_archive_becomes_its_files(web: FaultyServer, downloader: fetch.Downloader) -> None:
    web.put(URL, zipped({"plate/a.tif": b"first", "plate/deep/b.tif": b"second"}))
    found = downloader.get_archive(URL, "week/plate.zip")
    assert {
        path.relative_to(downloader.folder).as_posix(): path.read_bytes() for path in found
    } == {
        "week/plate/a.tif": b"first",
        "week/plate/deep/b.tif": b"second",
    }
    assert sorted(each.name for each in (downloader.folder / "week").iterdir()) == ["plate"]
    kept = ledger.read(downloader.folder)
    assert sorted(kept.files) == ["week/plate/a.tif", "week/plate/deep/b.tif"]
    assert kept.archives["week/plate.zip"]["n_members"] == 2
    again = fetch.Downloader(downloader.folder, mirror=web.mirror, patience=QUICK)
    assert sorted(again.get_archive(URL, "week/plate.zip")) == sorted(found)
    assert len(web.gets("images.bin")) == 1
    found[0].unlink()
    assert again.get_archive(URL, "week/plate.zip")
    assert found[0].read_bytes() == b"first"


def _with_bad_crc(packed: bytes) -> bytes:
    stored = io.BytesIO()
    with zipfile.ZipFile(stored, "w") as archive:
        archive.writestr("a.tif", b"pixels of a plate")
    return stored.getvalue().replace(b"pixels", b"pixelz")


BAD_ARCHIVES: dict[str, tuple[bytes, str]] = {
    "no zip": (b"<html>quota exceeded</html>", "damaged .File is not a zip"),
    "cut": (zipped({"a.tif": CONTENT})[:-200], "damaged"),
    "bad crc": (_with_bad_crc(b""), "damaged .Bad CRC-32 for file 'a.tif'"),
    "way up": (zipped({"../out.tif": b"x"}), "'../out.tif' would be written outside"),
    "absolute": (zipped({"/etc/out.tif": b"x"}), "would be written outside"),
    "backslash": (zipped({"..\\out.tif": b"x"}), "would be written outside"),
    "drive": (zipped({"C:out.tif": b"x"}), "would be written outside"),
    "link": (zipped({"a.tif": b"/etc/passwd"}, link="a.tif"), "is a link"),
    "bomb": (zipped({"a.tif": bytes(10_000_000)}), "more than 100 times as much"),
    "nothing": (zipped({}), "holds no files"),
}


@pytest.mark.parametrize(("content", "words"), BAD_ARCHIVES.values(), ids=BAD_ARCHIVES)
def test_a_bad_archive_leaves_nothing_behind(
    web: FaultyServer, downloader: fetch.Downloader, content: bytes, words: str
) -> None:
    web.put(URL, content)
    with pytest.raises(ValueError, match=words) as caught:
        downloader.get_archive(URL, "plate.zip")
    assert "plate.zip" in str(caught.value)
    assert [each.name for each in downloader.folder.iterdir()] == [ledger.LINES]
    web.put(URL, zipped({"a.tif": b"mended"}))
    assert downloader.get_archive(URL, "plate.zip")[0].read_bytes() == b"mended"


@pytest.mark.parametrize(
    ("contents", "fault"),
    [((b"one", b"one"), ""), ((b"one", b"two"), "'a.tif' is in it twice, with two contents")],
)
def test_a_member_that_is_there_twice_is_one_file_if_its_content_is_one(
    web: FaultyServer, downloader: fetch.Downloader, contents: tuple[bytes, bytes], fault: str
) -> None:
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w") as archive, warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # That a name is there twice.
        for content in contents:
            archive.writestr("a.tif", content)
        archive.writestr("b.tif", b"other")
    web.put(URL, packed.getvalue())
    if fault:
        with pytest.raises(ValueError, match=fault):
            downloader.get_archive(URL, "plate.zip")
        return
    files = downloader.get_archive(URL, "plate.zip")
    assert [file.read_bytes() for file in files] == [b"one", b"other"]


@pytest.mark.parametrize("faults", [[], ["cut:10"], ["status:503"], ["reset:5"]])
def test_a_piece_of_a_file_comes_with_the_size_of_the_whole(
    web: FaultyServer, downloader: fetch.Downloader, faults: list[str]
) -> None:
    web.faults[path_of(web)] = list(faults)
    assert downloader.client.read(URL, 1000, 50) == (CONTENT[1000:1050], len(CONTENT))
    assert downloader.client.read(URL, 299_990, 50) == (CONTENT[-10:], len(CONTENT))
    assert web.sent_bytes[path_of(web)] < 200


def test_a_server_that_gives_only_whole_files_gives_their_beginning(
    web: FaultyServer, downloader: fetch.Downloader
) -> None:
    web.always[path_of(web)] = "no-range"
    assert downloader.client.read(URL, 0, 50) == (CONTENT[:50], len(CONTENT))
    with pytest.raises(OSError, match="gives only whole files"):
        downloader.client.read(URL, 1, 50)


FILES = (
    File(URL, "table.csv"),
    File("https://data.example.org/1.zip", "1.zip", is_archive=True),
    File("https://data.example.org/2.zip", "2.zip", is_archive=True),
    File("https://data.example.org/3.zip", "3.zip", is_archive=True),
)


@pytest.fixture
def plates(web: FaultyServer) -> types.ModuleType:
    """A set of a table and three archives."""
    for number in (1, 2, 3):
        web.put(f"https://data.example.org/{number}.zip", zipped({f"p{number}/a.tif": b"pixels"}))
    return a_set(files=FILES)


def test_a_set_is_whole_only_when_all_of_it_came(
    web: FaultyServer, plates: types.ModuleType, tmp_path: Path
) -> None:
    web.faults[path_of(web, "https://data.example.org/2.zip")] = ["status:404"]
    with pytest.raises(FileNotFoundError, match=r"2\.zip"):
        fetch.fetch_set(plates, tmp_path, mirror=web.mirror, patience=QUICK)
    remedy = f"finish it with `python -m medres.datasets fetch drawn --to {tmp_path}`"
    with pytest.raises(ValueError, match=f"not finished; {remedy}"):
        source.require_whole(tmp_path, "drawn")
    kept = fetch.fetch_set(plates, tmp_path, mirror=web.mirror, patience=QUICK)
    assert source.require_whole(tmp_path, "drawn").startswith("drawn 1 fetched whole on 20")
    assert sorted(kept.files) == ["p1/a.tif", "p2/a.tif", "p3/a.tif", "table.csv"]
    assert len(web.gets("images.bin")) == len(web.gets("1.zip")) == 1
    record = json.loads((tmp_path / "fetched.json").read_text())
    assert record["licence"] == "CC0"
    assert record["limit"] == 0
    assert {entry["path"]: entry["size_bytes"] for entry in record["files"]} == {
        "table.csv": len(CONTENT),
        "p1/a.tif": 6,
        "p2/a.tif": 6,
        "p3/a.tif": 6,
    }
    assert not (tmp_path / "fetching.json").exists()
    n_asked = len(web.asked)
    fetch.fetch_set(plates, tmp_path, mirror=web.mirror, patience=QUICK)
    assert len(web.asked) == n_asked


@pytest.mark.parametrize("harm", ["gone", "cut"])
def test_a_file_that_is_gone_or_cut_is_named_and_got_again(
    web: FaultyServer, plates: types.ModuleType, tmp_path: Path, harm: str
) -> None:
    fetch.fetch_set(plates, tmp_path, mirror=web.mirror, patience=QUICK)
    image = tmp_path / "p2" / "a.tif"
    image.unlink() if harm == "gone" else image.write_bytes(b"pix")
    with pytest.raises(ValueError, match=r"1 of 4 fetched files .* first p2/a.tif; `python -m"):
        source.require_whole(tmp_path, "drawn")
    fetch.fetch_set(plates, tmp_path, mirror=web.mirror, patience=QUICK)
    assert image.read_bytes() == b"pixels"
    source.require_whole(tmp_path, "drawn")


def test_a_larger_limit_extends_and_a_smaller_one_changes_nothing(
    web: FaultyServer, plates: types.ModuleType, tmp_path: Path
) -> None:
    kept = fetch.fetch_set(plates, tmp_path, limit=1, mirror=web.mirror, patience=QUICK)
    assert sorted(kept.files) == ["p1/a.tif", "table.csv"]
    assert source.require_whole(tmp_path, "drawn").endswith("limited to 1")
    kept = fetch.fetch_set(plates, tmp_path, limit=2, mirror=web.mirror, patience=QUICK)
    assert sorted(kept.files) == ["p1/a.tif", "p2/a.tif", "table.csv"]
    assert len(web.gets("1.zip")) == 1
    kept = fetch.fetch_set(plates, tmp_path, limit=1, mirror=web.mirror, patience=QUICK)
    assert (kept.limit, len(kept.files)) == (2, 3)
    kept = fetch.fetch_set(plates, tmp_path, mirror=web.mirror, patience=QUICK)
    assert (kept.limit, len(kept.files)) == (0, 4)


def test_less_than_was_begun_may_be_wanted_after_all(
    web: FaultyServer, plates: types.ModuleType, tmp_path: Path
) -> None:
    web.faults[path_of(web, "https://data.example.org/3.zip")] = ["status:404"]
    with pytest.raises(FileNotFoundError):
        fetch.fetch_set(plates, tmp_path, mirror=web.mirror, patience=QUICK)
    (tmp_path / "p2" / "a.tif").unlink()
    kept = fetch.fetch_set(plates, tmp_path, limit=1, mirror=web.mirror, patience=QUICK)
    assert sorted(kept.files) == ["p1/a.tif", "table.csv"]
    assert source.require_whole(tmp_path, "drawn").endswith("limited to 1")


def test_a_whole_set_stays_whole_when_the_source_does_not_answer(
    web: FaultyServer, tmp_path: Path
) -> None:
    web.put_hub("a/b", {"test-00000-of-00002.parquet": b"1", "test-00001-of-00002.parquet": b"2"})
    module = a_set(hub_repo="a/b", hub_patterns=("*.parquet",))
    fetch.fetch_set(module, tmp_path, limit=1, mirror=web.mirror, patience=QUICK)
    for path in [path for path in web.files if "/api/" in path]:
        web.always[path] = "status:503"
    with pytest.raises(ConnectionError, match="503"):
        fetch.fetch_set(module, tmp_path, mirror=web.mirror, patience=QUICK)
    assert "limited to 1" in source.require_whole(tmp_path, "drawn")


def test_a_copy_of_ones_own_passes_and_says_that_nothing_vouches_for_it(tmp_path: Path) -> None:
    assert "unknown whether this copy is complete" in source.require_whole(tmp_path, "drawn")
    with pytest.raises(FileNotFoundError, match="no such folder; `python -m"):
        source.require_whole(tmp_path / "none", "drawn")


def test_a_folder_holds_one_set(
    web: FaultyServer, plates: types.ModuleType, tmp_path: Path
) -> None:
    fetch.fetch_set(plates, tmp_path, mirror=web.mirror, patience=QUICK)
    with pytest.raises(ValueError, match="holds drawn; fetch other into another folder"):
        fetch.fetch_set(a_set(name="other", files=FILES), tmp_path, mirror=web.mirror)
    with pytest.raises(ValueError, match="holds drawn, not other"):
        source.require_whole(tmp_path, "other")


def test_two_fetches_do_not_share_a_folder(
    web: FaultyServer, plates: types.ModuleType, tmp_path: Path
) -> None:
    with fetch._alone(tmp_path), pytest.raises(OSError, match="another fetch is running"):
        fetch.fetch_set(plates, tmp_path, mirror=web.mirror, patience=QUICK)


@pytest.mark.parametrize("n_kept", range(6))
def test_a_record_cut_short_by_a_kill_loses_one_file_at_most(tmp_path: Path, n_kept: int) -> None:
    kept = ledger.read(tmp_path)
    kept.begin(name="drawn")
    kept.add(path="a", url="u", sha256="s", size_bytes=1)
    kept.add(path="b", url="u", sha256="s", size_bytes=1)
    lines = (tmp_path / ledger.LINES).read_text()
    (tmp_path / ledger.LINES).write_text(lines[: len(lines) - n_kept])
    assert list(ledger.read(tmp_path).files) == (["a"] if n_kept else ["a", "b"])
    assert ledger.read(tmp_path).is_begun


def test_files_of_the_hub_come_at_one_recorded_commit(web: FaultyServer, tmp_path: Path) -> None:
    old = {"data/test-00000-of-00001.parquet": b"old rows", "README.md": b"card"}
    commit = web.put_hub("a/b", old, commit="0a" * 20)
    module = a_set(hub_repo="a/b", hub_patterns=("data/*.parquet",))
    name = "data/test-00000-of-00001.parquet"
    path = f"/mirror/huggingface.co/datasets/a/b/resolve/{commit}/{name}"
    web.faults[path] = ["status:404"]
    with pytest.raises(FileNotFoundError):
        fetch.fetch_set(module, tmp_path, mirror=web.mirror, patience=QUICK)
    # In between somebody pushes to main: the folder keeps to what was begun.
    newer = web.put_hub("a/b", {name: b"new rows"}, commit="0b" * 20)
    kept = fetch.fetch_set(module, tmp_path, mirror=web.mirror, patience=QUICK)
    assert kept.revision == commit
    assert (tmp_path / name).read_bytes() == b"old rows"
    assert list(kept.files) == [name]
    assert f"at {commit}" in source.require_whole(tmp_path, "drawn")
    with pytest.raises(ValueError, match=f"at {commit}, main is {newer}; fetch it into another"):
        fetch.fetch_set(module, tmp_path, revision="main", mirror=web.mirror, patience=QUICK)
    other = tmp_path / "other"
    kept = fetch.fetch_set(module, other, revision=newer, mirror=web.mirror, patience=QUICK)
    assert (kept.revision, (other / name).read_bytes()) == (newer, b"new rows")


def test_a_limit_takes_the_first_shards_of_each_split(web: FaultyServer, tmp_path: Path) -> None:
    names = [f"data/{split}-0000{n}-of-00003-ab12.parquet" for split in "ab" for n in range(3)]
    web.put_hub("a/b", {name: b"rows" for name in [*names, "data/info.json"]})
    module = a_set(hub_repo="a/b", hub_patterns=("data/*",))
    kept = fetch.fetch_set(module, tmp_path, limit=2, mirror=web.mirror, patience=QUICK)
    assert sorted(kept.files) == sorted([*names[:2], *names[3:5], "data/info.json"])


def test_a_pattern_that_names_nothing_on_the_hub_is_an_error(
    web: FaultyServer, tmp_path: Path
) -> None:
    web.put_hub("a/b", {"data/test.parquet": b"rows"})
    module = a_set(hub_repo="a/b", hub_patterns=("data/*.parquet", "imgs.zip"))
    with pytest.raises(ValueError, match=r"no file 'imgs.zip' at c0.*it has data/test.parquet"):
        fetch.fetch_set(module, tmp_path, mirror=web.mirror, patience=QUICK)
    with pytest.raises(ValueError, match="started but not finished"):
        source.require_whole(tmp_path, "drawn")


def test_an_archive_on_the_hub_is_unpacked(web: FaultyServer, tmp_path: Path) -> None:
    web.put_hub("a/b", {"imgs.zip": zipped({"imgs/1/source.jpg": b"jpeg"})})
    module = a_set(hub_repo="a/b", hub_patterns=("imgs.zip",))
    kept = fetch.fetch_set(module, tmp_path, mirror=web.mirror, patience=QUICK)
    assert list(kept.files) == ["imgs/1/source.jpg"]
    assert not (tmp_path / "imgs.zip").exists()


def test_a_gated_repository_says_what_to_do(web: FaultyServer, tmp_path: Path) -> None:
    web.put_hub("a/b", {"x.parquet": b""})
    web.always["/mirror/huggingface.co/api/datasets/a/b/revision/main"] = "status:403"
    module = a_set(hub_repo="a/b", hub_patterns=("*",))
    with pytest.raises(PermissionError, match="accept its terms on its page and set HF_TOKEN"):
        fetch.fetch_set(module, tmp_path, mirror=web.mirror, patience=QUICK)


def test_a_set_with_a_fetch_of_its_own_is_recorded_too(web: FaultyServer, tmp_path: Path) -> None:
    module = a_set()
    web.put("https://data.example.org/1.zip", zipped({"a.tif": b"pixels"}))
    seen: dict[str, Any] = {}

    def own(downloader: fetch.Downloader, folder: Path, *, limit: int, colour: str = "") -> None:
        seen.update(limit=limit, colour=colour, is_begun=(folder / "fetching.json").is_file())
        archive = downloader.get("https://data.example.org/1.zip", "1.zip")
        with zipfile.ZipFile(archive) as opened:
            opened.extractall(folder / "plate")
        archive.unlink()
        downloader.note("2.zip: the source has none")

    module.fetch = own  # type: ignore[attr-defined]
    kept = fetch.fetch_set(module, tmp_path, limit=3, mirror=web.mirror, colour="red")
    assert seen == {"limit": 3, "colour": "red", "is_begun": True}
    assert list(kept.files) == ["plate/a.tif"]
    assert list(kept.archives) == ["1.zip"]
    assert ledger.read(tmp_path).notes == ["2.zip: the source has none"]
    (tmp_path / "plate" / "a.tif").unlink()
    with pytest.raises(ValueError, match=r"first plate/a\.tif"):
        source.require_whole(tmp_path, "drawn")
    with pytest.raises(ValueError, match="fetching drawn takes no size"):
        fetch.fetch_set(module, tmp_path, mirror=web.mirror, size=1)


class Archive:
    """The Genomic Data Commons with a few small slides."""

    def __init__(self, web: FaultyServer, slides: dict[str, bytes]) -> None:
        self.questions: list[dict[str, Any]] = []
        self.hits = []
        for number, (name, content) in enumerate(slides.items()):
            file_id = f"id-{number}"
            web.put(f"{gdc.API}/data/{file_id}", content)
            self.hits.append(
                {
                    "id": file_id,
                    "file_id": file_id,
                    "file_name": name,
                    "file_size": len(content),
                    "md5sum": hashlib.md5(content).hexdigest(),
                    "cases": [{"submitter_id": name[:12]}],
                }
            )
        web.answers["/mirror/api.gdc.cancer.gov/files"] = self.answer

    def answer(self, question: dict[str, Any]) -> dict[str, Any]:
        self.questions.append(question)
        filters = {
            each["content"]["field"]: each["content"]["value"]
            for each in question["filters"]["content"]
        }
        cases = filters["cases.submitter_id"]
        assert filters["experimental_strategy"] == ["Diagnostic Slide"]
        hits = [hit for hit in self.hits if hit["cases"][0]["submitter_id"] in cases]
        return {"data": {"hits": hits, "pagination": {"total": len(hits)}}}


SLIDES = {
    "TCGA-AA-0001-01Z-00-DX2.B.svs": b"second slide of one",
    "TCGA-AA-0001-01Z-00-DX1.A.svs": b"slide one",
    "TCGA-AA-0002-01Z-00-DX1.C.svs": b"slide two",
    "TCGA-AA-0003-01Z-00-DX1.D.svs": b"slide three",
}
CASES = ["TCGA-AA-0001", "TCGA-AA-0002", "TCGA-AA-0003"]


def reducer(seen: list[bytes], broken: bytes = b"") -> Callable[..., Any]:
    """Reads a slide of text, and checks that no other slide is on the disk."""

    def reduce(path: Path, max_pixels: int) -> tuple[np.ndarray, dict[str, Any]]:
        assert [each.name for each in path.parent.iterdir()] == [path.name]
        content = path.read_bytes()
        if content == broken:
            raise images.UnreadableImageError(f"{path}: no level can be read")
        seen.append(content)
        return np.full((3, max_pixels // 3, 3), len(seen), np.uint8), {
            "stored_px": [900, 300],
            "level": 2,
        }

    return reduce


def test_slides_come_one_at_a_time_and_stay_reduced(
    web: FaultyServer, downloader: fetch.Downloader
) -> None:
    archive, seen, folder = Archive(web, SLIDES), list[bytes](), downloader.folder
    web.faults[path_of(web, f"{gdc.API}/files")] = ["status:502"]
    web.faults[path_of(web, f"{gdc.API}/data/id-1")] = ["cut:4"]
    cases = [*CASES, "TCGA-AA-0009"]
    gdc.fetch_slides(downloader, folder, cases, max_pixels=12, reduce=reducer(seen))
    assert seen == [b"slide one", b"slide two", b"slide three"]
    assert not list(folder.rglob("*.svs*"))
    assert not (folder / "arriving").exists()
    rows = (folder / "slides.csv").read_text().splitlines()
    assert rows[0] == (
        "case,slide,file_id,md5,level,stored_width_px,stored_height_px,width_px,height_px,"
        "max_pixels,n_slides"
    )
    md5 = hashlib.md5(b"slide one").hexdigest()
    assert rows[1] == (f"TCGA-AA-0001,TCGA-AA-0001-01Z-00-DX1.A.svs,id-1,{md5},2,900,300,4,3,12,2")
    assert len(rows) == 4
    with Image.open(folder / "slides" / "TCGA-AA-0002.png") as image:
        assert (image.size, image.getpixel((0, 0))) == ((4, 3), (2, 2, 2))
    assert downloader.kept.notes == ["TCGA-AA-0009: the source has no diagnostic slide"]
    assert sorted(downloader.kept.files) == [
        "slides.csv",
        *[f"slides/{case}.png" for case in CASES],
    ]
    assert archive.questions[0]["fields"].split(",")[3] == "md5sum"


def test_slides_go_on_from_the_case_that_failed(
    web: FaultyServer, downloader: fetch.Downloader
) -> None:
    Archive(web, SLIDES)
    seen: list[bytes] = []
    folder = downloader.folder
    web.always[path_of(web, f"{gdc.API}/data/id-2")] = "corrupt"
    wrong = hashlib.md5(b"sliee two").hexdigest()
    with pytest.raises(ValueError, match=f"md5 {wrong}, not"):
        gdc.fetch_slides(downloader, folder, CASES, max_pixels=12, reduce=reducer(seen))
    assert not list(folder.rglob("*.svs*"))
    web.always.clear()
    again = fetch.Downloader(folder, mirror=web.mirror, patience=QUICK)
    gdc.fetch_slides(again, folder, CASES, max_pixels=12, reduce=reducer(seen))
    assert seen == [b"slide one", b"slide two", b"slide three"]
    assert len(web.gets("data/id-1")) == 1
    with pytest.raises(ValueError, match="slides reduced to 12 pixels, not 99"):
        gdc.fetch_slides(again, folder, CASES, max_pixels=99, reduce=reducer(seen))


def test_a_slide_that_was_being_reduced_at_a_kill_is_not_got_again(
    web: FaultyServer, downloader: fetch.Downloader
) -> None:
    Archive(web, SLIDES)
    arriving = downloader.folder / "arriving"
    arriving.mkdir()
    (arriving / "TCGA-AA-0001-01Z-00-DX1.A.svs").write_bytes(b"slide one")
    (arriving / "TCGA-AA-0007-01Z-00-DX1.Z.svs.part").write_bytes(b"given up")
    gdc.fetch_slides(downloader, downloader.folder, CASES[:1], max_pixels=12, reduce=reducer([]))
    assert web.gets("data/") == []
    assert (downloader.folder / "slides" / "TCGA-AA-0001.png").is_file()


def test_a_slide_that_cannot_be_read_is_noted_and_the_next_one_comes(
    web: FaultyServer, downloader: fetch.Downloader
) -> None:
    Archive(web, SLIDES)
    seen: list[bytes] = []
    reduce = reducer(seen, broken=b"slide one")
    gdc.fetch_slides(downloader, downloader.folder, CASES, max_pixels=12, reduce=reduce)
    assert seen == [b"slide two", b"slide three"]
    (note,) = downloader.kept.notes
    assert note.startswith("TCGA-AA-0001: its slide cannot be read")


def test_a_slide_that_the_disk_has_no_room_for_is_not_begun(
    web: FaultyServer, downloader: fetch.Downloader
) -> None:
    archive = Archive(web, SLIDES)
    for hit in archive.hits:
        hit["file_size"] = 10**18
    with pytest.raises(OSError, match=r"slide TCGA-AA-0001.* needs 1000\.0 PB"):
        gdc.fetch_slides(downloader, downloader.folder, CASES, max_pixels=12, reduce=reducer([]))
    assert web.gets("data/") == []


def test_an_answer_without_hashes_is_refused(
    web: FaultyServer, downloader: fetch.Downloader
) -> None:
    archive = Archive(web, SLIDES)
    del archive.hits[0]["md5sum"]
    with pytest.raises(ValueError, match="answers without 'md5sum'"):
        gdc.find(downloader, CASES)


def test_progress_says_share_rate_and_time_left() -> None:
    progress = Progress(io.StringIO(), total_bytes=4_000_000)
    progress.skip(1_000_000)
    progress._began_s -= 10
    progress.add(500_000, 500_000)
    shown = progress.line()
    assert shown.startswith("1 files, 1.5 MB of 4.0 MB (38 %), ")
    assert shown.endswith("kB/s, 50.0 s left")


def test_progress_is_no_flood_in_a_log() -> None:
    out = io.StringIO()
    progress = Progress(out)
    for _ in range(10_000):
        progress.add(100, 100)
    assert out.getvalue() == ""
    progress._shown_s -= 31
    progress.add(100, 100)
    assert out.getvalue().count("\n") == 1
