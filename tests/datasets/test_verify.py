import hashlib
import io
import json
import re
import tempfile
import warnings
import zipfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from medres.datasets import REAL, cervical, compound, protein_atlas, ubench, wsi
from medres.datasets.__main__ import main
from medres.datasets.fetch import assumed, checks, gdc, verify
from medres.datasets.fetch import probe as probes
from medres.datasets.fetch.probe import Probe
from medres.datasets.fetch.transfer import Patience
from tests.datasets.test_fetch_cli import SERVE, commit_of, picture, zipped
from tests.faulty_server import FaultyServer, only_loopback, start_server  # noqa: F401

pytestmark = pytest.mark.usefixtures("only_loopback", "tiny_world")
QUICK = Patience(stall_s=0.5, attempts=1, wait_s=0.01)
HOST = "/mirror/huggingface.co"
PLATE = "/mirror/data.broadinstitute.org/bbbc/BBBC021/BBBC021_v1_images_Week1_22123.zip"
SMEARS = {"NILM": "NL_1_", "LSIL": "LSIL_3", "HSIL": "HSIL_2", "SCC": "scc_1"}
LOGIN = b"<!DOCTYPE html><html><body>Please log in</body></html>" * 9


@pytest.fixture
def tiny_world(monkeypatch: pytest.MonkeyPatch) -> None:
    """The sources here hold a few rows and small pictures: that many are what is assumed."""
    monkeypatch.setattr(compound, "N_PLATES", 2)
    monkeypatch.setattr(compound, "N_FIELDS", 4)
    monkeypatch.setattr(compound, "IMAGE_PX", (6, 4))
    few = {"Microtubule stabilizers": 2, "Cholesterol-lowering": 2}
    monkeypatch.setattr(compound, "FIELDS_PER_MOA", few)
    monkeypatch.setattr(cervical, "COUNTED", dict.fromkeys(("NILM", "LSIL", "HSIL", "SCC"), 2))
    monkeypatch.setattr(cervical, "SLIDES", dict.fromkeys(("NILM", "LSIL", "HSIL", "SCC"), 1))
    monkeypatch.setattr(cervical, "IMAGE_PX", (24, 16))
    monkeypatch.setattr(wsi, "N_RECORDS", {"train": 1, "validation": 1, "test": 1})
    for hub in assumed.HUBS:
        splits = dict.fromkeys(hub.counts, 1)
        is_ubench = hub.module is ubench
        shards, rows = ({"test": 2}, {"test": 2}) if is_ubench else (splits, {})
        counts = rows or dict.fromkeys(hub.counts, 2)
        tiny = replace(hub, shards=shards, counts=counts, sha256={})
        monkeypatch.setitem(checks.CHECKS, hub.module.SOURCE.name, checks._hub(tiny))


def smears(name: Callable[[str, int], str] = lambda slide, n: f"{slide} ({n}).jpg") -> bytes:
    """A zip of two images of one slide of each class, named as at the source."""
    return zipped(
        {
            f"LBC/{cervical.CLASSES[label]}/{name(slide, number)}": picture("JPEG", number)
            for label, slide in SMEARS.items()
            for number in (1, 2)
        }
    )


def serve(server: FaultyServer, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Serve a set in the layout of its source."""
    SERVE[name](server)
    if name == "cervical":
        server.put(cervical.SOURCE.files[0].url, smears())
    elif name == "wsi":
        for path in list(server.files):
            if path.startswith("/mirror/api.gdc.cancer.gov/data/"):
                server.files[path] = b"II*\0" + server.files[path]
        digests = {
            file.path.rpartition("/")[2]: hashlib.sha256(_raw(server, file.url)).hexdigest()
            for file in wsi.SOURCE.files
        }
        monkeypatch.setattr(wsi, "SHA256", digests)
    elif name == "ubench":
        info = json.dumps({"splits": {"test": {"num_examples": 2}}}).encode()
        put_hub_file(server, "jnirschl/uBench", "perception/0.1.0/dataset_info.json", info)
    for hub in assumed.HUBS:
        card = json.dumps({"cardData": {"license": hub.licence}}).encode()
        server.put(f"https://huggingface.co/api/datasets/{hub.licence_repo}", card)


def _raw(server: FaultyServer, url: str) -> bytes:
    raw = url.replace("github.com", "raw.githubusercontent.com").replace("/raw/", "/")
    return server.files[raw.replace("https:/", "/mirror")]


def put_hub_file(server: FaultyServer, repo: str, name: str, content: bytes) -> None:
    commit = commit_of(repo)
    server.put(f"https://huggingface.co/datasets/{repo}/resolve/{commit}/{name}", content)


def states(server: FaultyServer, name: str) -> dict[str, str]:
    (ticks,) = verify.verify([name], mirror=server.mirror, patience=QUICK)
    return {tick.assumption.key: tick.state for tick in ticks}


@pytest.mark.parametrize("name", REAL)
def test_the_layout_that_is_documented_is_ticked_and_leaves_nothing_behind(
    server: FaultyServer,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    name: str,
) -> None:
    serve(server, name, monkeypatch)
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    assert main(["verify", name, "--mirror", server.mirror]) == 0
    said = capsys.readouterr().out
    keys = [row.key for row in assumed.ABOUT if row.dataset == name]
    lines = [line for line in said.splitlines() if re.match("  (ok|differs|could not)", line)]
    assert [line[24:].split()[0] for line in lines] == keys
    unchecked = [line for line in lines if not line.startswith("  ok ")]
    is_hub = bool(REAL[name].SOURCE.hub_repo)
    expected = (["hashes"] if name == "ubench" else []) if is_hub else ["licence"]
    assert [line[24:].split()[0] for line in unchecked] == expected
    assert said.splitlines()[-1].startswith(f"{len(keys) - len(unchecked)} ok, 0 differs")
    assert list(tmp_path.iterdir()) == []


def without_column(server: FaultyServer) -> None:
    rows = [{"picture": {"bytes": picture("JPEG"), "path": None}, "question": "a", "answer": "b"}]
    stream = io.BytesIO()
    pq.write_table(pa.Table.from_pylist(rows), stream)
    name = "data/test-00000-of-00001-eb8844602202be60.parquet"
    put_hub_file(server, "flaviagiammarino/vqa-rad", name, stream.getvalue())


def renamed(server: FaultyServer) -> None:
    commit = commit_of("mdwiratathya/SLAKE-vqa-english")
    said = {"sha": commit, "siblings": [{"rfilename": "slake/test.parquet", "size": 9}]}
    url = f"https://huggingface.co/api/datasets/mdwiratathya/SLAKE-vqa-english/revision/{commit}"
    server.put(url, json.dumps(said).encode())


def other_licence(server: FaultyServer) -> None:
    server.put(
        "https://huggingface.co/api/datasets/BoKelvin/SLAKE",
        json.dumps({"cardData": {"license": "other"}}).encode(),
    )


def gone(server: FaultyServer) -> None:
    server.files.clear()


def no_picture(server: FaultyServer) -> None:
    rows = [{"image": {"bytes": b"<html>"}, "question": "a", "answer": "yes"}]
    stream = io.BytesIO()
    pq.write_table(pa.Table.from_pylist(rows), stream)
    name = "data/test-00000-of-00001-eb8844602202be60.parquet"
    put_hub_file(server, "flaviagiammarino/path-vqa", name, stream.getvalue())


def login_for_zip(server: FaultyServer) -> None:
    server.put(cervical.SOURCE.files[0].url, LOGIN)


def cut_zip(server: FaultyServer) -> None:
    server.put(cervical.SOURCE.files[0].url, smears()[:-200])


def cut_plate(server: FaultyServer) -> None:
    server.files[PLATE] = server.files[PLATE][:-100]


def no_plate(server: FaultyServer) -> None:
    del server.files[PLATE]


def flat_plate(server: FaultyServer) -> None:
    with zipfile.ZipFile(io.BytesIO(server.files[PLATE])) as opened:
        flat = {name.partition("/")[2]: opened.read(name) for name in opened.namelist()}
    server.files[PLATE] = zipped(flat)


def renamed_compound_column(server: FaultyServer) -> None:
    path = f"/mirror/data.broadinstitute.org/bbbc/BBBC021/{compound.IMAGE_TABLE}"
    server.files[path] = server.files[path].replace(b"Image_Metadata_Compound", b"Compound")


def no_slides_in_names(server: FaultyServer) -> None:
    named = smears(lambda slide, number: f"{slide[0]}{number}.jpg")
    server.put(cervical.SOURCE.files[0].url, named)


def two_contents(server: FaultyServer) -> None:
    packed = io.BytesIO(smears())
    with zipfile.ZipFile(packed, "a") as opened, warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # That a name is there twice.
        opened.writestr(opened.namelist()[0], picture("JPEG", 9))
    server.put(cervical.SOURCE.files[0].url, packed.getvalue())


def no_class_folder(server: FaultyServer) -> None:
    server.put(cervical.SOURCE.files[0].url, zipped({"a/b.jpg": picture("JPEG")}))


def refused(server: FaultyServer) -> None:
    path = server.put(cervical.SOURCE.files[0].url, b"")
    server.always[path] = "status:403"


def no_md5(server: FaultyServer) -> None:
    told = server.answers["/mirror/api.gdc.cancer.gov/files"]

    def answer(question: dict[str, Any]) -> Any:
        said = told(question)
        for hit in said["data"]["hits"]:
            hit.pop("md5sum", None)
        return said

    server.answers["/mirror/api.gdc.cancer.gov/files"] = answer


def slide_login(server: FaultyServer) -> None:
    server.put(f"{gdc.API}/data/id-1", LOGIN)


def other_questions(server: FaultyServer) -> None:
    url = wsi.SOURCE.files[0].url
    raw = url.replace("github.com", "raw.githubusercontent.com").replace("/raw/", "/")
    server.put(raw, b'[{"Id": "TCGA-PL-A8LZ", "Question": "q", "Reply": "a"}]')


def other_xml(server: FaultyServer) -> None:
    gene = "ENSG00000134057"
    server.put(
        f"{protein_atlas.RELEASE}/{gene}.xml", b"<proteinAtlas><entry></entry></proteinAtlas>"
    )


def table_login(server: FaultyServer) -> None:
    server.put(f"{protein_atlas.RELEASE}/download/{protein_atlas.LOCATIONS}", LOGIN)


def image_login(server: FaultyServer) -> None:
    server.put("https://images.proteinatlas.org/15813/2006_A9_4_blue_red_green.jpg", LOGIN)


CHANGED: dict[str, tuple[str, Callable[[FaultyServer], None], str, str]] = {
    "missing column": ("vqa-rad", without_column, "columns", "picture, question, answer"),
    "renamed file": ("slake", renamed, "address", "has no file 'data/*.parquet'"),
    "other licence": ("slake", other_licence, "licence", "other"),
    "all gone": ("path-vqa", gone, "address", "no such file (404"),
    "no picture": ("path-vqa", no_picture, "images", "row 0: its image is unreadable"),
    "login page for a zip": ("cervical", login_for_zip, "archive", "begins with b'<!DO'"),
    "cut zip": ("cervical", cut_zip, "folders", "File is not a zip file"),
    "403": ("cervical", refused, "archive", "the server refuses it (403"),
    "no class folder": ("cervical", no_class_folder, "folders", "has no folder named"),
    "two contents": ("cervical", two_contents, "twice", "1 names"),
    "no slides": ("cervical", no_slides_in_names, "slides", "no name tells one"),
    "cut plate": ("compound", cut_plate, "members", "File is not a zip file"),
    "no plate": ("compound", no_plate, "archives", "no such file (404"),
    "flat plate": ("compound", flat_plate, "members", "0 of 6 images of Week1_22123"),
    "renamed column": ("compound", renamed_compound_column, "columns", "lacks the columns"),
    "no md5": ("wsi", no_md5, "slides", "answers without 'md5sum'"),
    "login for a slide": ("wsi", slide_login, "images", "begins with b'<!DO'"),
    "renamed field": ("wsi", other_questions, "fields", "needs Id, Question, Answer"),
    "other XML": ("subcellular", other_xml, "entries", "0 images"),
    "login for a table": ("subcellular", table_login, "columns", "is not a zip of a table"),
    "login for an image": ("subcellular", image_login, "images", "is not a JPEG"),
}


@pytest.mark.parametrize(("name", "change", "key", "words"), CHANGED.values(), ids=CHANGED)
def test_what_differs_at_the_source_is_named(
    server: FaultyServer,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    name: str,
    change: Callable[[FaultyServer], None],
    key: str,
    words: str,
) -> None:
    serve(server, name, monkeypatch)
    change(server)
    monkeypatch.setattr(verify.verify, "__kwdefaults__", {"mirror": "", "patience": QUICK})
    assert main(["verify", name, "--mirror", server.mirror]) == 1
    said = capsys.readouterr().out
    (ticks,) = verify.verify([name], mirror=server.mirror, patience=QUICK)
    by_key = {tick.assumption.key: tick for tick in ticks}
    assert by_key[key].state == verify.DIFFERS
    assert words in by_key[key].found
    assert "medres-verify-" not in said, "a temporary folder says nothing"
    (assumption,) = [row for row in assumed.ABOUT if (row.dataset, row.key) == (name, key)]
    assert " ".join(assumption.assumed.split()[:2]) in " ".join(said.split())


def test_what_depends_on_what_differs_is_not_called_right(
    server: FaultyServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    serve(server, "cervical", monkeypatch)
    login_for_zip(server)
    got = states(server, "cervical")
    assert got.pop("archive") == verify.DIFFERS
    assert set(got.values()) == {verify.UNCHECKED}


@pytest.mark.parametrize("fault", ["no-range", "cut:9", "status:503"])
def test_a_line_that_gives_no_pieces_is_not_taken_for_a_bad_archive(
    server: FaultyServer, monkeypatch: pytest.MonkeyPatch, fault: str
) -> None:
    serve(server, "cervical", monkeypatch)
    monkeypatch.setattr(probes, "PIECE_BYTES", 64)
    path = server.put(cervical.SOURCE.files[0].url, smears())
    if fault == "no-range":
        server.always[path] = fault
    else:
        server.faults[path] = ["", "", *[fault] * 9]
    got = states(server, "cervical")
    assert got.pop("archive") == verify.OK
    assert set(got.values()) == {verify.UNCHECKED}


def test_of_a_large_table_little_comes(server: FaultyServer) -> None:
    noise = np.random.default_rng(0)
    rows = [{"image": {"bytes": noise.bytes(50_000)}, "question": str(n)} for n in range(300)]
    stream = io.BytesIO()
    pq.write_table(pa.Table.from_pylist(rows), stream, row_group_size=30)
    url = "https://data.example.org/test-00000-of-00001.parquet"
    path = server.put(url, stream.getvalue())
    probe = Probe(mirror=server.mirror, patience=QUICK)
    assert checks._first_rows(probe, url).to_pylist() == rows[:3]
    assert server.sent_bytes[path] < len(server.files[path]) / 3


@pytest.mark.parametrize("name", ["slake", "cervical", "all"])
def test_offline_is_one_line(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], name: str
) -> None:
    monkeypatch.setattr(verify.verify, "__kwdefaults__", {"mirror": "", "patience": QUICK})
    # Nothing listens on the port of no service.
    assert main(["verify", name, "--mirror", "http://127.0.0.1:9"]) == 1
    said = capsys.readouterr()
    assert said.out == ""
    assert said.err.startswith("medres: offline: no source answers (")
    assert said.err.count("\n") == 1


def test_a_source_that_does_not_answer_does_not_stop_the_others(
    server: FaultyServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    serve(server, "cervical", monkeypatch)
    serve(server, "slake", monkeypatch)
    path = cervical.SOURCE.files[0].url.replace("https:/", "/mirror")
    server.always[path] = "status:503"
    names = ["slake", "cervical"]
    first, second = verify.verify(names, mirror=server.mirror, patience=QUICK)
    assert {tick.state for tick in first} == {verify.OK}
    assert {tick.state for tick in second} == {verify.UNCHECKED}
    assert "503" in second[0].found


@pytest.mark.parametrize(
    ("limits", "words"),
    [({"max_bytes": 1000}, "more than 0 MB"), ({"max_s": -1.0}, "more than -1 seconds")],
)
def test_no_more_than_so_much_comes(
    server: FaultyServer, limits: dict[str, Any], words: str
) -> None:
    url = "https://data.example.org/large.bin"
    path = server.put(url, bytes(3_000_000))
    probe = Probe(mirror=server.mirror, patience=QUICK, **limits)
    with pytest.raises(TimeoutError, match=words):
        probe.read(url, 0, 2000)
    assert server.sent_bytes[path] <= 2000


def test_of_a_large_file_only_those_pieces_come_that_are_read(server: FaultyServer) -> None:
    url = "https://data.example.org/large.zip"
    members = {f"{number}.bin": bytes([number]) * 900_000 for number in range(9)}
    path = server.put(url, zipped(members))
    probe = Probe(mirror=server.mirror, patience=QUICK)
    with zipfile.ZipFile(probe.open(url)) as opened:
        assert opened.read("5.bin") == members["5.bin"]
    assert server.sent_bytes[path] < len(server.files[path]) / 3


@pytest.mark.parametrize("is_same", [True, False])
def test_hashes_that_are_known_are_compared_without_getting_the_files(
    server: FaultyServer, monkeypatch: pytest.MonkeyPatch, is_same: bool
) -> None:
    serve(server, "ubench", monkeypatch)
    (hub,) = [each for each in assumed.HUBS if each.module is ubench]
    names = [f"ubench-test-{number:05d}-of-00002.arrow" for number in range(2)]
    base = f"{HOST}/datasets/jnirschl/uBench/resolve/{commit_of('jnirschl/uBench')}/perception"
    contents = [server.files[f"{base}/0.1.0/{name}"] for name in names]
    sha256 = [hashlib.sha256(content).hexdigest() for content in contents]
    known = dict(zip(names, sha256 if is_same else [sha256[0], "0" * 64], strict=True))
    tiny = replace(hub, shards={"test": 2}, counts={"test": 2}, sha256=known)
    monkeypatch.setitem(checks.CHECKS, "ubench", checks._hub(tiny))
    assert states(server, "ubench")["hashes"] == (verify.OK if is_same else verify.DIFFERS)


def test_every_data_set_has_assumptions_and_every_assumption_is_looked_at() -> None:
    assert list(dict.fromkeys(row.dataset for row in assumed.ABOUT)) == list(REAL)
    assert set(checks.CHECKS) == set(REAL)
    keys = [(row.dataset, row.key) for row in assumed.ABOUT]
    assert len(set(keys)) == len(keys)
    for name in REAL:
        named = {key for dataset, key in keys if dataset == name}
        # The Atlas grows with each release: how many images it has is not assumed.
        counted = set() if name == "subcellular" else {"counts"}
        assert {"images", "reader", "licence"} | counted <= named


def test_the_document_is_made_of_the_table() -> None:
    written = Path(__file__).parents[2] / "docs" / "datasets.md"
    assert written.read_text(encoding="utf-8") == assumed.document(), (
        "python -m medres.datasets assumed > docs/datasets.md"
    )
