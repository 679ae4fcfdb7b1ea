from pathlib import Path

import pydicom
import pytest
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import ExplicitVRLittleEndian, generate_uid

from medres import images

SLIDE = "1.2.840.10008.5.1.4.1.1.77.1.6"
SCAN = "1.2.840.10008.5.1.4.1.1.2"


def write_dicom(path: Path, series: str, kind: str = SLIDE) -> None:
    found = Dataset()
    found.file_meta = FileMetaDataset()
    found.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    found.file_meta.MediaStorageSOPClassUID = found.SOPClassUID = kind
    found.file_meta.MediaStorageSOPInstanceUID = found.SOPInstanceUID = generate_uid()
    found.SeriesInstanceUID = series
    pydicom.dcmwrite(path, found, enforce_file_format=True)


def names(folder: Path, image: str) -> list[str]:
    return [path.relative_to(folder).as_posix() for path in images.sources_of(folder, image)]


def test_a_dicom_slide_is_all_files_of_its_series(tmp_path: Path) -> None:
    first, second = generate_uid(), generate_uid()
    for name, series in (("b.dcm", first), ("a.dcm", first), ("c.dcm", second)):
        write_dicom(tmp_path / name, series)
    write_dicom(tmp_path / "ct.dcm", first, SCAN)
    assert names(tmp_path, "b.dcm") == ["b.dcm", "a.dcm"]
    assert names(tmp_path, "c.dcm") == ["c.dcm"]
    assert names(tmp_path, "ct.dcm") == ["ct.dcm"]
    assert images.is_of_several(tmp_path / "c.dcm")
    assert not images.is_of_several(tmp_path / "ct.dcm")


def test_the_hash_of_a_slide_follows_every_file_of_it(tmp_path: Path) -> None:
    series = generate_uid()
    write_dicom(tmp_path / "level1.dcm", series)
    found = [images.source_sha256(tmp_path, "level1.dcm")]
    # The rest of the download arrives, and is then exchanged: both gave the old hash.
    for _ in range(2):
        write_dicom(tmp_path / "level0.dcm", series)
        found.append(images.source_sha256(tmp_path, "level1.dcm"))
    write_dicom(tmp_path / "other.dcm", generate_uid())
    assert images.source_sha256(tmp_path, "level1.dcm") == found[-1]
    assert len(set(found)) == 3


def test_a_mirax_slide_is_the_folder_of_its_name_too(tmp_path: Path) -> None:
    (tmp_path / "slide").mkdir()
    (tmp_path / "slide.mrxs").write_bytes(b"\xff\xd8\xff")
    for name in ("Slidedat.ini", "Data0001.dat"):
        (tmp_path / "slide" / name).write_text(name)
    assert names(tmp_path, "slide.mrxs") == [
        "slide.mrxs", "slide/Data0001.dat", "slide/Slidedat.ini",
    ]  # fmt: skip
    before = images.source_sha256(tmp_path, "slide.mrxs")
    (tmp_path / "slide" / "Data0001.dat").write_text("other")
    assert images.source_sha256(tmp_path, "slide.mrxs") != before


def test_a_hamamatsu_slide_is_what_its_list_names(tmp_path: Path) -> None:
    (tmp_path / "slide.vms").write_text("[Virtual]\nImageFile=one.jpg\nMapFile=map.jpg\nX=9\n")
    for name in ("one.jpg", "map.jpg", "stranger.jpg"):
        (tmp_path / name).write_bytes(b"x")
    assert names(tmp_path, "slide.vms") == ["slide.vms", "map.jpg", "one.jpg"]


@pytest.mark.parametrize("image", ["plain.png", "plain.png#page=1"])
def test_a_plain_image_is_one_file(tmp_path: Path, image: str) -> None:
    (tmp_path / "plain.png").write_bytes(b"\x89PNG\r\n\x1a\n")
    (tmp_path / "plain").mkdir()
    (tmp_path / "plain" / "x").write_text("x")
    assert names(tmp_path, image) == ["plain.png"]
