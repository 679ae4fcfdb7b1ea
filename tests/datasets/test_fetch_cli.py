import hashlib
import io
import json
import os
import signal
import subprocess
import sys
import time
import zipfile
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from medres import images
from medres.datasets import REAL, compound, fetch, ledger, protein_atlas, source, ubench
from medres.datasets.__main__ import main
from medres.datasets.fetch import gdc
from medres.datasets.fetch.transfer import Patience
from tests.faulty_server import FaultyServer, only_loopback, start_server  # noqa: F401

pytestmark = pytest.mark.usefixtures("only_loopback")
QUICK = Patience(stall_s=0.25, attempts=2, wait_s=0.01)


@dataclass
class Served:
    """A small set in the layout of its source."""

    path: str
    """Address on the server of the file that faults are tried on."""
    files: list[str]
    """What must lie in the folder once it is whole."""
    options: dict[str, Any] = field(default_factory=dict)
    """Of the reader, where its defaults ask for more than a few rows."""


def picture(kind: str, seed: int = 0, size_px: tuple[int, int] = (24, 16)) -> bytes:
    rng = np.random.default_rng(seed)
    pixels = rng.integers(0, 255, (*size_px[::-1], 3), dtype=np.uint8)
    stream = io.BytesIO()
    Image.fromarray(pixels).save(stream, kind)
    return stream.getvalue()


def zipped(members: dict[str, bytes]) -> bytes:
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w") as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    return stream.getvalue()


def parquet(split: str) -> bytes:
    rows = [
        {
            "image": {"bytes": picture("JPEG", len(split)), "path": None},
            "question": "is the lung normal?",
            "answer": "yes",
        },
        {
            "image": {"bytes": picture("JPEG", len(split) + 1), "path": None},
            "question": "what is shown?",
            "answer": "a mass",
        },
    ]
    stream = io.BytesIO()
    pq.write_table(pa.Table.from_pylist(rows), stream)
    return stream.getvalue()


def commit_of(repo: str) -> str:
    (pinned,) = {m.SOURCE.hub_revision for m in REAL.values() if m.SOURCE.hub_repo == repo}
    return "c0" * 20 if pinned == "main" else pinned


def serve_hub_set(server: FaultyServer, repo: str, splits: tuple[str, ...]) -> Served:
    names = [f"data/{split}-00000-of-00001-eb8844602202be60.parquet" for split in splits]
    content = {name: parquet(split) for name, split in zip(names, splits, strict=True)}
    files = {**content, "README.md": b"# card", ".gitattributes": b"*"}
    commit = server.put_hub(repo, files, commit_of(repo))
    return Served(f"/mirror/huggingface.co/datasets/{repo}/resolve/{commit}/{names[-1]}", names)


def serve_vqa_rad(server: FaultyServer) -> Served:
    return serve_hub_set(server, "flaviagiammarino/vqa-rad", ("train", "test"))


def serve_path_vqa(server: FaultyServer) -> Served:
    return serve_hub_set(server, "flaviagiammarino/path-vqa", ("train", "validation", "test"))


def serve_slake(server: FaultyServer) -> Served:
    return serve_hub_set(server, "mdwiratathya/SLAKE-vqa-english", ("train", "validation", "test"))


def serve_ubench(server: FaultyServer) -> Served:
    asked = {
        "question": "what is the stain?",
        "options": ["H&E", "DAPI"],
        "answer": "H&E",
        "answer_idx": 0,
        "id": "q1",
        "name": "stain",
    }
    row = {
        "image_id": "1",
        "image": {"bytes": picture("PNG"), "path": None},
        "label": 0,
        "dataset": "acevedo_et_al_2020",
        "modality": "light microscopy",
        "questions": {"stain": asked, "domain": asked},
    }
    table, content = pa.Table.from_pylist([row]), {}
    for number in range(2):
        stream = io.BytesIO()
        with pa.ipc.new_stream(stream, table.schema) as writer:
            writer.write_table(table)
        name = f"perception/0.1.0/ubench-test-{number:05d}-of-00002.arrow"
        content[name] = stream.getvalue()
    content |= {"perception/0.1.0/dataset_info.json": b"{}"}
    repo = ubench.SOURCE.hub_repo
    commit = server.put_hub(repo, {**content, "README.md": b"# card"}, commit_of(repo))
    path = f"/mirror/huggingface.co/datasets/{repo}/resolve/{commit}/{name}"
    return Served(path, list(content), options={"whole": True})


def serve_cervical(server: FaultyServer) -> Served:
    folders = [
        "High squamous intra-epithelial lesion",
        "Low squamous intra-epithelial lesion",
        "Negative for Intraepithelial malignancy",
        "Squamous cell carcinoma",
    ]
    members = {
        f"Liquid based cytology/{folder}/{folder[:2]}_{number}.jpg": picture("JPEG", number)
        for folder in folders
        for number in range(3)
    }
    path = server.put(REAL["cervical"].SOURCE.files[0].url, zipped(members))
    return Served(path, list(members))


def serve_compound(server: FaultyServer) -> Served:
    plates, rows, files = ("Week1_22123", "Week4_27481"), [], []
    for plate in plates:
        members = {}
        for site in (1, 2):
            row: dict[str, Any] = {"TableNumber": 4, "ImageNumber": len(rows) + 1}
            for channel, code in (("DAPI", "w1"), ("Tubulin", "w2"), ("Actin", "w4")):
                name = f"G10_s{site}_{code}BEDC2073-{len(rows)}.tif"
                row[f"Image_FileName_{channel}"] = name
                row[f"Image_PathName_{channel}"] = f"{plate.partition('_')[0]}/{plate}"
                stream = io.BytesIO()
                Image.fromarray(np.full((4, 6), 900 * site, np.uint16)).save(stream, "TIFF")
                members[f"{plate}/{name}"] = stream.getvalue()
            rows.append(
                {
                    **row,
                    "Image_Metadata_Plate_DAPI": plate,
                    "Image_Metadata_Well_DAPI": "G10",
                    "Replicate": 1,
                    "Image_Metadata_Compound": ("taxol", "mevinolin")[len(rows) % 2],
                    "Image_Metadata_Concentration": 0.3,
                }
            )
        archive = f"BBBC021_v1_images_{plate}.zip"
        path = server.put(compound.BASE + archive, zipped(members))
        files += list(members)
    moa = 'compound,concentration,moa\n"taxol","0.300000","Microtubule stabilizers"\n'
    moa += '"mevinolin","0.300000","Cholesterol-lowering"\n'
    server.put(compound.BASE + compound.MOA_TABLE, moa.encode())
    table = pd.DataFrame(rows).to_csv(index=False)
    server.put(compound.BASE + compound.IMAGE_TABLE, table.encode())
    return Served(path, [*files, compound.MOA_TABLE, compound.IMAGE_TABLE], options={"n_test": 2})


def serve_wsi(server: FaultyServer) -> Served:
    cases = {"train": "TCGA-PL-A8LZ", "val": "TCGA-A2-A0EX", "test": "TCGA-BH-A42V"}
    files, hits = [], []
    for file in REAL["wsi"].SOURCE.files:
        # GitHub sends on to another host, as it does.
        raw = file.url.replace("github.com", "raw.githubusercontent.com").replace("/raw/", "/")
        split = file.path.removesuffix(".json").rpartition("_")[2]
        records = [{"Id": cases.get(split, ""), "Question": "what is the grade?", "Answer": "two"}]
        content = json.dumps(records).encode() if split in cases else b",train,val,test\n"
        server.put(raw, content)
        server.always[server.put(file.url, b"")] = f"redirect:{raw}"
        files.append(file.path)
    for number, case in enumerate(cases.values()):
        content = f"slide of {case}".encode() * 9
        path = server.put(f"{gdc.API}/data/id-{number}", content)
        hits.append(
            {
                "file_id": f"id-{number}",
                "file_name": f"{case}-01Z-00-DX1.ABC.svs",
                "file_size": len(content),
                "md5sum": hashlib.md5(content).hexdigest(),
                "cases": [{"submitter_id": case}],
            }
        )
        files.append(f"slides/{case}.png")

    def answer(question: dict[str, Any]) -> dict[str, Any]:
        asked = next(
            each["content"]["value"]
            for each in question["filters"]["content"]
            if each["content"]["field"] == "cases.submitter_id"
        )
        found = [hit for hit in hits if hit["cases"][0]["submitter_id"] in asked]
        return {"data": {"hits": found, "pagination": {"total": len(found)}}}

    server.answers["/mirror/api.gdc.cancer.gov/files"] = answer
    return Served(path, [*files, gdc.TABLE])


def serve_subcellular(server: FaultyServer) -> Served:
    names = ["15813/2006_A9_4_blue_red_green.jpg", "15813/2007_B1_1_blue_red_green.jpg"]
    shown = "".join(
        f"<assayImage><image><imageUrl>http://images.proteinatlas.org/{name}</imageUrl></image>"
        "</assayImage>"
        for name in names
    )
    xml = (
        '<proteinAtlas><entry><name>CCNB1</name><xref db="Uniprot/SWISSPROT" id="P14635"/>'
        '<antibody id="HPA008873"><cellExpression technology="ICC/IF"><data>'
        '<cellLine cellosaurusID="CVCL_0042">U2OS</cellLine><location>Cytosol</location>'
        f"{shown}</data></cellExpression></antibody></entry></proteinAtlas>"
    )
    gene = "ENSG00000134057"
    table = zipped({"subcellular_location.tsv": f"Gene\tGene name\n{gene}\tCCNB1\n".encode()})
    release, located = protein_atlas.RELEASE, protein_atlas.LOCATIONS
    server.put(f"{release}/download/{located}", table)
    server.put(f"{release}/{gene}.xml", xml.encode())
    for seed, name in enumerate(names):
        path = server.put(f"https://images.proteinatlas.org/{name}", picture("JPEG", seed))
    files = [located, f"genes/{gene}.xml", "captions.json", *[f"images/{name}" for name in names]]
    return Served(path, files, options={"n_test": 1})


SERVE: dict[str, Callable[[FaultyServer], Served]] = {
    "subcellular": serve_subcellular,
    "compound": serve_compound,
    "cervical": serve_cervical,
    "wsi": serve_wsi,
    "vqa-rad": serve_vqa_rad,
    "path-vqa": serve_path_vqa,
    "slake": serve_slake,
    "ubench": serve_ubench,
}


def reduce(path: Path, max_pixels: int) -> tuple[np.ndarray, dict[str, Any]]:
    """Stands for reading a whole slide."""
    assert path.read_bytes().startswith(b"slide of TCGA")
    return np.zeros((5, 7, 3), np.uint8), {"stored_px": [700, 500], "level": 1}


@pytest.fixture(autouse=True)
def small_slides(monkeypatch: pytest.MonkeyPatch) -> None:
    """Slides are a line of text here; reading real ones is tested with their reader."""
    monkeypatch.setitem(gdc.fetch_slides.__kwdefaults__, "reduce", reduce)


@pytest.fixture(autouse=True)
def no_room_needed(monkeypatch: pytest.MonkeyPatch) -> None:
    """The true sizes of the sets are more than a disk for tests has."""
    for module in REAL.values():
        small = replace(module.SOURCE, size_bytes=1000)
        monkeypatch.setattr(module, "SOURCE", small)


def kept_files(folder: Path) -> set[str]:
    return {
        path.relative_to(folder).as_posix()
        for path in folder.rglob("*")
        if path.is_file() and path.name not in ("fetched.json", ".fetching.lock")
    }


def test_every_set_is_served_here() -> None:
    assert set(SERVE) == set(REAL)


@pytest.mark.parametrize("name", REAL)
def test_a_set_comes_whole_and_its_reader_takes_it(
    server: FaultyServer, tmp_path: Path, capsys: pytest.CaptureFixture[str], name: str
) -> None:
    served, folder = SERVE[name](server), tmp_path / "set"
    command = ["fetch", name, "--to", str(folder), "--mirror", server.mirror]
    assert main(command) == 0, capsys.readouterr().err
    said = capsys.readouterr().out
    assert " ".join(said.split()).startswith(f"licence {REAL[name].SOURCE.licence} cite ")
    assert f"{name}: {{folder: {folder}}}" in said
    assert kept_files(folder) == set(served.files)
    assert "fetched whole" in source.require_whole(folder, name)
    n_gets = len(server.gets())
    assert main(command) == 0
    assert len(server.gets()) == n_gets
    found = REAL[name].read(folder, tmp_path / "workspace", **served.options)
    assert len(found.table) > 0
    for image in found.table["image"]:
        for file in images.files_of(image):
            assert (found.image_folder / file).is_file()


FAULTS: dict[str, tuple[str, type[Exception]]] = {
    "404": ("status:404", FileNotFoundError),
    "403": ("status:403", PermissionError),
    "500": ("status:500", ConnectionError),
    "cut": ("cut:9", ConnectionError),
    "stalled": ("stall:9", ConnectionError),
    "corrupt": ("corrupt", ValueError),
}


# The Atlas publishes no hashes and a JPEG has none: an altered image of it cannot be told.
TRIED = [(name, fault) for name in REAL for fault in FAULTS]
TRIED.remove(("subcellular", "corrupt"))


@pytest.mark.parametrize(("name", "fault"), TRIED)
def test_half_a_set_is_never_whole_and_the_next_fetch_ends_it(
    server: FaultyServer, tmp_path: Path, name: str, fault: str
) -> None:
    served, module = SERVE[name](server), REAL[name]
    server.always[served.path], error = FAULTS[fault]
    with pytest.raises(error) as caught:
        fetch.fetch_set(module, tmp_path, mirror=server.mirror, patience=QUICK)
    assert "\n" not in str(caught.value)
    with pytest.raises(ValueError, match="started but not finished"):
        source.require_whole(tmp_path, name)
    had = {entry["url"].removeprefix("https:/") for entry in ledger.read(tmp_path).files.values()}
    del server.always[served.path]
    server.asked.clear()
    fetch.fetch_set(module, tmp_path, mirror=server.mirror, patience=QUICK)
    source.require_whole(tmp_path, name)
    assert kept_files(tmp_path) == set(served.files)
    had.discard(served.path.removeprefix("/mirror"))  # A damaged archive is recorded and gone.
    got = {path.removeprefix("/mirror") for method, path, _ in server.asked if method == "GET"}
    assert served.path.removeprefix("/mirror") in got
    assert not got & had


HASHLESS = [
    ("subcellular", "subcellular_location.tsv.zip"),
    ("subcellular", "ENSG00000134057.xml"),
    ("subcellular", "2006_A9_4_blue_red_green.jpg"),
    ("compound", compound.MOA_TABLE),
    ("compound", compound.IMAGE_TABLE),
    ("compound", "BBBC021_v1_images_Week1_22123.zip"),
    ("wsi", "WsiVQA_train.json"),
    ("wsi", "splits_0.csv"),
]


@pytest.mark.parametrize(("name", "file"), HASHLESS)
def test_a_login_page_in_place_of_a_file_without_hash_is_not_kept(
    server: FaultyServer, tmp_path: Path, name: str, file: str
) -> None:
    served = SERVE[name](server)
    path = next(path for path in server.files if path.endswith(file) and path not in server.always)
    content, server.files[path] = server.files[path], b"<!DOCTYPE html><title>Log in</title>"
    with pytest.raises(ValueError, match=r"is not the expected file|not a zip"):
        fetch.fetch_set(REAL[name], tmp_path, mirror=server.mirror, patience=QUICK)
    with pytest.raises(ValueError, match="started but not finished"):
        source.require_whole(tmp_path, name)
    server.files[path] = content
    fetch.fetch_set(REAL[name], tmp_path, mirror=server.mirror, patience=QUICK)
    assert kept_files(tmp_path) == set(served.files)


@pytest.mark.parametrize("name", ["vqa-rad", "wsi"])
def test_a_kill_between_a_file_and_its_line_leaves_no_file_unrecorded(
    server: FaultyServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    served, add = SERVE[name](server), ledger.Ledger.add

    def killed(kept: ledger.Ledger, **entry: Any) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(ledger.Ledger, "add", killed)
    with pytest.raises(KeyboardInterrupt):
        fetch.fetch_set(REAL[name], tmp_path, mirror=server.mirror, patience=QUICK)
    monkeypatch.setattr(ledger.Ledger, "add", add)
    kept = fetch.fetch_set(REAL[name], tmp_path, mirror=server.mirror, patience=QUICK)
    assert set(kept.files) == kept_files(tmp_path) == set(served.files)
    for file in served.files:
        (tmp_path / file).rename(tmp_path / "aside")
        with pytest.raises(ValueError, match=r"1 of .* fetched files are gone"):
            source.require_whole(tmp_path, name)
        (tmp_path / "aside").rename(tmp_path / file)


@pytest.mark.parametrize("name", REAL)
def test_bad_luck_on_the_line_is_mended_for_every_set(
    server: FaultyServer, tmp_path: Path, name: str
) -> None:
    served = SERVE[name](server)
    server.faults[served.path] = ["cut:20", "status:503"]
    patience = Patience(stall_s=0.25, attempts=3, wait_s=0.01)
    fetch.fetch_set(REAL[name], tmp_path, mirror=server.mirror, patience=patience)
    assert kept_files(tmp_path) == set(served.files)
    assert server.faults[served.path] == []


@pytest.mark.parametrize("name", ["subcellular", "compound", "wsi", "ubench"])
def test_a_limit_gets_less_and_no_limit_the_rest(
    server: FaultyServer, tmp_path: Path, name: str
) -> None:
    served = SERVE[name](server)
    command = ["fetch", name, "--to", str(tmp_path), "--mirror", server.mirror]
    assert main([*command, "--limit", "1"]) == 0
    assert "limited to 1" in source.require_whole(tmp_path, name)
    few = kept_files(tmp_path)
    assert few < set(served.files)
    assert main(command) == 0
    assert kept_files(tmp_path) == set(served.files)
    assert "limited" not in source.require_whole(tmp_path, name)


def test_slides_of_another_size_are_refused(
    server: FaultyServer, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    serve_wsi(server)
    command = ["fetch", "wsi", "--to", str(tmp_path), "--mirror", server.mirror]
    assert main([*command, "--max-pixels", "900"]) == 0
    assert main(command) == 0
    capsys.readouterr()
    assert main([*command, "--max-pixels", "800"]) == 1
    said = capsys.readouterr().err
    assert "{'max_pixels': 900}, not {'max_pixels': 800}; fetch into another folder" in said
    assert "fetched whole" in source.require_whole(tmp_path, "wsi")


def test_a_killed_fetch_goes_on_with_the_byte_it_stopped_at(
    server: FaultyServer, tmp_path: Path
) -> None:
    content = np.random.default_rng(0).bytes(6 << 20)
    name = "data/test-00000-of-00001.parquet"
    repo = "flaviagiammarino/vqa-rad"
    commit = server.put_hub(repo, {name: content}, commit_of(repo))
    path = f"/mirror/huggingface.co/datasets/{repo}/resolve/{commit}/{name}"
    server.always[path] = "slow"
    command = ["fetch", "vqa_rad", "--to", str(tmp_path), "--mirror", server.mirror]
    environment = {key: value for key, value in os.environ.items() if "proxy" not in key.lower()}
    started = subprocess.Popen(
        [sys.executable, "-m", "medres.datasets", *command],
        env=environment,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        cwd=Path(__file__).resolve().parents[2],
    )
    part = tmp_path / f"{name}.part"
    try:
        until = time.monotonic() + 60
        while not (part.is_file() and part.stat().st_size > 1 << 20):
            assert started.poll() is None, started.stderr.read()
            assert time.monotonic() < until
            time.sleep(0.01)
    finally:
        started.send_signal(signal.SIGKILL)
        started.communicate()
    there = part.stat().st_size
    assert there < len(content)
    with pytest.raises(ValueError, match="started but not finished; finish it with"):
        source.require_whole(tmp_path, "vqa_rad")
    server.always.clear()
    server.sent_bytes.clear()
    assert main(command) == 0
    assert (tmp_path / name).read_bytes() == content
    assert server.gets(name)[-1]["Range"] == f"bytes={there}-"
    assert server.sent_bytes[path] == len(content) - there
    assert "fetched whole" in source.require_whole(tmp_path, "vqa_rad")


def test_list_has_a_line_for_each_set(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["list"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[0] for line in lines] == list(REAL)
    assert all(("not in the paper" in line) == line.startswith("ubench") for line in lines)
    assert all("CC" in line for line in lines if line.startswith(("slake", "compound", "ubench")))


@pytest.mark.parametrize("name", REAL)
def test_describe_tells_all_that_is_known(capsys: pytest.CaptureFixture[str], name: str) -> None:
    assert main(["describe", name]) == 0
    said = capsys.readouterr().out
    assert max(map(len, said.splitlines())) <= 200
    words, facts = " ".join(said.split()), REAL[name].SOURCE
    for text in (facts.title, facts.citation, facts.licence, facts.version, *facts.defects):
        assert " ".join(text.split()) in words
    assert f"never split {facts.group}" in words


@pytest.mark.parametrize(
    ("command", "words"),
    [
        (["describe", "nonesuch"], "unknown data set 'nonesuch'; known ones are subcellular, "),
        (["fetch", "nonesuch", "--to", "x"], "unknown data set"),
        (["fetch", "slake", "--to", "x", "--limit", "-1"], "--limit is -1"),
        (["fetch", "cervical", "--to", "x", "--revision", "main"], "no revisions to choose from"),
        (["fetch", "slake", "--to", "x", "--max-pixels", "9"], "slake takes no max_pixels"),
        (["fetch", "slake", "--to", "/dev/null/x"], "/dev/null"),
    ],
)
def test_errors_are_one_line(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    command: list[str],
    words: str,
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(command) == 1
    said = capsys.readouterr().err
    assert said.startswith("medres: ")
    assert words in said
    assert said.count("\n") == 1


def test_a_hyphen_is_as_good_as_an_underscore(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["describe", "vqa-rad"]) == 0
    assert capsys.readouterr().out.startswith("vqa")
