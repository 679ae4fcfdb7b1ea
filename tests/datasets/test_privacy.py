"""A study on DICOM files: nothing of a patient reaches what a study writes."""

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pydicom
import pytest
import yaml
from pydicom.uid import CTImageStorage, ExplicitVRLittleEndian

from tests.test_study_run import new_project

pytestmark = [pytest.mark.slow, pytest.mark.notebook]

PLANTED = {
    "PatientName": "Zebrowska^Quillaja",
    "PatientID": "HX-90417-PLANTED",
    "PatientBirthDate": "19311029",
    "PatientAddress": "17 Larkspur Mews",
    "InstitutionName": "Saint Wyvern Infirmary",
    "ReferringPhysicianName": "Okonjo^Bartleby",
    "AccessionNumber": "ACC5550173",
    "StudyDate": "20110713",
    "StudyDescription": "follow-up of Quillaja",
    "StudyInstanceUID": "1.2.826.0.1.3680043.8.498.40404040401",
    "SeriesInstanceUID": "1.2.826.0.1.3680043.8.498.40404040402",
    "SOPInstanceUID": "1.2.826.0.1.3680043.8.498.40404040403",
}
TRACES = {part.lower() for value in PLANTED.values() for part in (value, *value.split("^"))}


def write_dicom(path: Path, seed: int) -> None:
    rng = np.random.default_rng(seed)
    dataset = pydicom.Dataset()
    for name, value in PLANTED.items():
        setattr(dataset, name, value)
    dataset.SOPClassUID, dataset.Modality = CTImageStorage, "CT"
    dataset.Rows, dataset.Columns = 56, 84
    dataset.SamplesPerPixel, dataset.PhotometricInterpretation = 1, "MONOCHROME2"
    dataset.BitsAllocated, dataset.BitsStored, dataset.HighBit = 16, 12, 11
    dataset.PixelRepresentation = 0
    dataset.PixelData = rng.integers(0, 4096, (56, 84), dtype=np.uint16).tobytes()
    dataset.file_meta = pydicom.dataset.FileMetaDataset()
    dataset.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    dataset.file_meta.MediaStorageSOPClassUID = CTImageStorage
    dataset.file_meta.MediaStorageSOPInstanceUID = PLANTED["SOPInstanceUID"]
    dataset.save_as(path, enforce_file_format=True)


def spoil(path: Path) -> None:
    """Cut the pixels short, behind all the tags."""
    path.write_bytes(path.read_bytes()[:-3000])


def private_study(project: Path) -> None:
    (project / "scans").mkdir()
    rows = []
    for number in range(9):
        write_dicom(project / "scans" / f"{number}.dcm", number)
        split = "train" if number % 2 else "test"
        answer = "yes" if number % 3 else "no"
        rows.append({"image": f"{number}.dcm", "question": "bleed?", "answer": answer})
        rows[-1]["split"] = split
    spoil(project / "scans" / "8.dcm")
    pd.DataFrame(rows).to_csv(project / "scans" / "questions.csv", index=False)
    folder = project / "params" / "private"
    folder.mkdir()
    for name in ("01_datasets", "02_finetune", "03_evaluate"):
        given = yaml.safe_load((project / "params" / "smoke" / f"{name}.yaml").read_text())
        (folder / f"{name}.yaml").write_text(yaml.safe_dump(given))
    study = {
        "title": "Scans",
        "models": ["tiny-qwen2-vl"],
        "train_resolutions": ["none", "low"],
        "seeds": [0],
        "datasets": {"scans": {"table": "scans/questions.csv", "unreadable": "exclude"}},
        "finetune": {},
        "reports": ["01_datasets", "05_alignment"],
    }
    (folder / "study.yaml").write_text(yaml.safe_dump(study))


def text_of(path: Path) -> str:
    """Return all that a file says, compressed tables too."""
    if path.suffix == ".parquet":
        table = pd.read_parquet(path)
        return json.dumps([list(table.columns), table.astype(str).to_numpy().tolist()])
    return path.read_bytes().decode("utf-8", "replace")


def test_the_search_finds_what_is_planted(tmp_path: Path) -> None:
    write_dicom(tmp_path / "scan.dcm", 0)
    said = text_of(tmp_path / "scan.dcm").lower()
    assert {trace for trace in TRACES if trace not in said} == set()
    pd.DataFrame({"image": [PLANTED["PatientID"]]}).to_parquet(tmp_path / "t.parquet")
    assert PLANTED["PatientID"] in text_of(tmp_path / "t.parquet")


def test_no_trace_of_a_patient_in_anything_that_a_study_writes(tmp_path: Path) -> None:
    project = new_project(tmp_path / "project")
    private_study(project)
    environment = {name: value for name, value in os.environ.items() if name != "MEDRES_ROOT"}
    done = subprocess.run(
        [sys.executable, "-m", "medres.make", "private", "--cores", "2"],
        cwd=project,
        env=environment,
        capture_output=True,
        text=True,
        timeout=280,
    )
    said = (done.stdout + done.stderr).lower()
    assert done.returncode == 0, said
    written = [
        path
        for name in ("runs", "reports", ".snakemake")
        for path in (project / name).rglob("*")
        if path.is_file() and path.suffix != ".safetensors"
    ]
    assert {path.suffix for path in written} >= {".parquet", ".html", ".json", ".ipynb", ".csv"}
    record = json.loads((project / "runs/private/questions/scans/run.json").read_text())
    assert record["outcome"]["n_images"] == 8
    assert len(record["outcome"]["excluded"]) == 1
    found = {
        (str(path.relative_to(project)), trace)
        for path in written
        for trace in TRACES
        if trace in text_of(path).lower()
    }
    assert found == set()
    assert {trace for trace in TRACES if trace in said} == set()
