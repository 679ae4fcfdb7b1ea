import io
import json
import logging
import re
import traceback
import warnings
from pathlib import Path
from typing import Any

import imagecodecs
import numpy as np
import pandas as pd
import pydicom
import pytest
from pydicom import uid
from pydicom.dataset import Dataset, FileDataset, FileMetaDataset
from pydicom.encaps import encapsulate
from pydicom.sequence import Sequence

from medres.images import dicom
from medres.images.reading import Reading, UnreadableImageError

GREY16 = np.random.default_rng(0).integers(0, 4096, (40, 30)).astype(np.uint16)
PLANTED = {
    "PatientName": "Quixote^Alonso",
    "PatientID": "PID-77341-X",
    "PatientBirthDate": "19371123",
    "PatientAddress": "1 La Mancha Road",
    "InstitutionName": "Hospital Dulcinea",
    "ReferringPhysicianName": "Panza^Sancho",
    "AccessionNumber": "ACC0918273",
    "StudyDate": "20190704",
    "StudyDescription": "Windmill fracture",
    "StudyInstanceUID": "1.2.826.0.1.3680043.8.498.77341001",
    "SeriesInstanceUID": "1.2.826.0.1.3680043.8.498.77341002",
    "FrameOfReferenceUID": "1.2.826.0.1.3680043.8.498.77341003",
    "DeviceSerialNumber": "SERIAL-ROCINANTE",
    "ImageComments": "comment about Dulcinea del Toboso",
}
SECRETS = [*PLANTED.values(), "1.2.826.0.1.3680043.8.498.77341004", "AE_TITLE_TOBOSO"]


def _dicom(values: np.ndarray = GREY16, **elements: Any) -> FileDataset:
    """A file with planted tags; elements of the image by keyword, None leaves one out."""
    meta = FileMetaDataset()
    meta.MediaStorageSOPClassUID = uid.SecondaryCaptureImageStorage
    meta.MediaStorageSOPInstanceUID = SECRETS[-2]
    meta.TransferSyntaxUID = elements.pop("syntax", uid.ExplicitVRLittleEndian)
    meta.SourceApplicationEntityTitle = SECRETS[-1]
    file = FileDataset("", {}, file_meta=meta, preamble=bytes(128))
    n_frames = elements.get("NumberOfFrames", 1)
    size = values.shape[1:] if n_frames > 1 else values.shape
    described = {
        "SamplesPerPixel": 3 if len(size) == 3 else 1,
        "PhotometricInterpretation": "RGB" if len(size) == 3 else "MONOCHROME2",
        "Rows": size[0],
        "Columns": size[1],
        "BitsAllocated": 8 * values.dtype.itemsize,
        "BitsStored": 8 * values.dtype.itemsize,
        "HighBit": 8 * values.dtype.itemsize - 1,
        "PixelRepresentation": int(values.dtype.kind == "i"),
        "PixelData": values.tobytes() + bytes(values.nbytes % 2),
        **({"PlanarConfiguration": 0} if len(size) == 3 else {}),
        **PLANTED,
        **elements,
    }
    for keyword, value in described.items():
        if value is not None:
            setattr(file, keyword, value)
    return file


def _saved(folder: Path, file: FileDataset, name: str = "scan.dcm") -> Path:
    buffer = io.BytesIO()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        file.save_as(buffer)
    (folder / name).write_bytes(buffer.getvalue())
    return folder / name


def _read(
    folder: Path, file: FileDataset, page: int | None = None, **reading: Any
) -> tuple[np.ndarray, dict[str, Any]]:
    rgb, record = dicom.read(_saved(folder, file), page, Reading(**reading))
    assert (rgb.dtype, rgb.ndim, rgb.shape[2]) == (np.uint8, 3, 3)
    return rgb, record


def _grey(folder: Path, file: FileDataset, **reading: Any) -> np.ndarray:
    rgb = _read(folder, file, **reading)[0]
    assert (rgb == rgb[..., :1]).all()
    return rgb[..., 0]


def test_files_of_the_real_set_open_with_their_sizes_or_fail_by_name(realdata: Path) -> None:
    folder = realdata / "dicom_small"
    labels = pd.read_csv(folder / "labels.csv")
    assert len(labels) == 14
    failed = []
    for row in labels.itertuples():
        path = folder / "images" / row.image
        page = 0 if row.frames > 1 else None
        try:
            rgb, record = dicom.read(path, page, Reading())
        except UnreadableImageError as error:
            failed.append(str(error).removeprefix(f"{path}: ").partition(",")[0])
            continue
        assert rgb.shape == (row.height, row.width, 3), row.image
        assert record["stored_px"] == [row.width, row.height]
        assert record["bits"] == row.bits_stored
        assert record["transfer_syntax"] == row.transfer_syntax
        assert record["photometric"] == row.photometric
        assert record.get("n_frames", 1) == row.frames
        json.dumps(record)
    assert failed == ["DICOM of lossy JPEG with 12 bits", "DICOM without its file header"]


def test_one_scan_is_the_same_in_every_transfer_syntax(realdata: Path) -> None:
    folder = realdata / "dicom_small" / "images"
    names = ("MR_small", "MR_small_RLE", "MR_small_jp2klossless", "MR_small_bigendian")
    shown = [dicom.read(folder / f"{name}.dcm", None, Reading())[0] for name in names]
    stored = pydicom.dcmread(folder / "MR_small.dcm").pixel_array
    # center 600, width 1600, LINEAR
    expected = np.clip((stored - 599.5) / 1599 + 0.5, 0, 1) * 255
    assert (shown[0][..., 0] == np.round(expected)).all()
    assert all((each == shown[0]).all() for each in shown)


def test_colours_of_real_files_are_those_of_pydicom(realdata: Path) -> None:
    folder = realdata / "dicom_small" / "images"
    for name, page in (
        ("examples_rgb_color", None),
        ("examples_ybr_color", 7),
        ("SC_jpeg_no_color_transform", None),
        ("examples_jpeg2k", None),
    ):
        rgb, _ = dicom.read(folder / f"{name}.dcm", page, Reading())
        stored = pydicom.pixels.pixel_array(folder / f"{name}.dcm", index=page or 0)
        assert np.abs(rgb.astype(int) - stored).max() <= (2 if page else 0), name
    path = folder / "examples_palette.dcm"
    coloured = pydicom.pixels.apply_color_lut(
        pydicom.dcmread(path).pixel_array, pydicom.dcmread(path)
    )
    assert (dicom.read(path, None, Reading())[0] == coloured // 256).all()
    assert coloured.max() > 255


@pytest.mark.parametrize(
    ("function", "expected"),
    [
        (None, lambda x: (x - (100 - 0.5)) / (47 - 1) + 0.5),
        ("LINEAR_EXACT", lambda x: (x - 100) / 47 + 0.5),
        ("SIGMOID", lambda x: 1 / (1 + np.exp(-4 * (x - 100) / 47))),
    ],
)
def test_windows_follow_the_formulas_of_the_standard(
    tmp_path: Path, function: str | None, expected: Any
) -> None:
    ramp = np.arange(200, dtype=np.uint16).reshape(10, 20)
    file = _dicom(ramp, WindowCenter=[100, 7], WindowWidth=[47, 9], VOILUTFunction=function)
    rgb, record = _read(tmp_path, file)
    assert (rgb[..., 0] == np.round(np.clip(expected(ramp.astype(float)), 0, 1) * 255)).all()
    window = {"index": 0, "function": function or "LINEAR", "center": 100, "width": 47}
    assert record["window"] == window


def test_a_window_of_one_value_is_a_step(tmp_path: Path) -> None:
    ramp = np.arange(200, dtype=np.uint16).reshape(10, 20)
    grey = _grey(tmp_path, _dicom(ramp, WindowCenter=100, WindowWidth=1))
    assert (grey == np.where(ramp >= 100, 255, 0)).all()


def test_windows_are_in_rescaled_units(tmp_path: Path) -> None:
    stored = np.arange(0, 2000, 2, dtype=np.uint16).reshape(20, 50)
    rescale = {"RescaleSlope": "0.5", "RescaleIntercept": "-100"}
    file = _dicom(stored, WindowCenter=300, WindowWidth=400, VOILUTFunction="LINEAR_EXACT")
    file.update(_elements(rescale))
    expected = np.round(np.clip((stored / 2 - 100 - 100) / 400, 0, 1) * 255)
    assert (_grey(tmp_path, file) == expected).all()
    assert (_grey(tmp_path, file, scaling="window:100:500") == expected).all()
    whole = _read(tmp_path, file, scaling="range")[1]
    assert (whole["low"], whole["high"]) == (-100, 65535 / 2 - 100)
    assert whole["scaling"] == "range"


def test_a_falling_slope_turns_grey_round(tmp_path: Path) -> None:
    stored = np.arange(256, dtype=np.uint8).reshape(16, 16)
    file = _dicom(stored, RescaleSlope=-1, RescaleIntercept=10)
    assert (_grey(tmp_path, file) == 255 - stored).all()


def _elements(values: dict[str, Any]) -> Dataset:
    elements = Dataset()
    for keyword, value in values.items():
        setattr(elements, keyword, value)
    return elements


def _table(entries: np.ndarray, first: int, bits: int) -> Dataset:
    table = Dataset()
    table.add_new("LUTDescriptor", "US", [len(entries), first, bits])
    table.add_new("LUTData", "US", entries.tolist())
    return table


def test_look_up_tables_of_modality_and_display_are_applied(tmp_path: Path) -> None:
    stored = np.arange(100, dtype=np.uint16).reshape(10, 10)
    file = _dicom(stored, WindowCenter=5, WindowWidth=10)
    file.ModalityLUTSequence = Sequence([_table(np.arange(100)[::-1] * 10, 0, 16)])
    file.VOILUTSequence = Sequence([_table(np.arange(1000) * 4, 0, 12)])
    rgb, record = _read(tmp_path, file)
    assert (rgb[..., 0] == np.round((99.0 - stored) * 40 / 4095 * 255)).all()
    assert record["voi_lut"] == 0
    # what is asked for by name is not overruled by the file's table
    window = _grey(tmp_path, file, scaling="window:0:990")
    assert (window == np.round((99.0 - stored) * 10 / 990 * 255)).all()


def test_without_a_window_the_range_of_the_stored_bits_is_shown(tmp_path: Path) -> None:
    for bits, kind in ((12, "u2"), (13, "i2"), (16, "u2"), (16, "i2"), (8, "u1"), (8, "i1")):
        low, high = (-(2 ** (bits - 1)), 2 ** (bits - 1) - 1) if "i" in kind else (0, 2**bits - 1)
        stored = np.linspace(low, high, 4000).round().astype(kind).reshape(40, 100)
        file = _dicom(stored, BitsStored=bits, HighBit=bits - 1)
        rgb, record = _read(tmp_path, file)
        expected = np.round((stored.astype(float) - low) / (high - low) * 255)
        assert (rgb[..., 0] == expected).all(), (bits, kind)
        assert (record["low"], record["high"], record["window"]) == (low, high, None)
        assert len(np.unique(rgb)) == 256


def test_bits_above_those_stored_are_no_part_of_the_value(tmp_path: Path) -> None:
    # once, overlays lay there
    file = _dicom(GREY16 | np.uint16(0x8000), BitsStored=12, HighBit=11)
    assert (_grey(tmp_path, file, scaling="range") == np.round(GREY16 / 4095 * 255)).all()


def test_without_a_window_the_values_that_occur_are_spread(tmp_path: Path) -> None:
    low, high = int(GREY16.min()), int(GREY16.max())
    expected = np.round((GREY16.astype(float) - low) / (high - low) * 255)
    rgb, record = _read(tmp_path, _dicom(GREY16, BitsStored=16, HighBit=15))
    assert (rgb[..., 0] == expected).all()
    assert (record["low"], record["high"], record["window"]) == (low, high, None)


def test_monochrome1_is_turned_round(tmp_path: Path) -> None:
    window = {"WindowCenter": 2000, "WindowWidth": 3000}
    black = _grey(tmp_path, _dicom(PhotometricInterpretation="MONOCHROME2", **window))
    white = _grey(tmp_path, _dicom(PhotometricInterpretation="MONOCHROME1", **window))
    assert (white == 255 - black).all()


@pytest.mark.parametrize("kind", ["MONOCHROME1", "MONOCHROME2"])
def test_padding_is_black_and_no_part_of_percentiles(tmp_path: Path, kind: str) -> None:
    values = np.linspace(0, 1000, 1200).astype(np.int16).reshape(40, 30)
    padded = values.copy()
    padded[:, :20] = -2000
    padded[0, :20] = -1990
    described = {"PhotometricInterpretation": kind, "PixelPaddingValue": -2000}
    file = _dicom(padded, PixelPaddingRangeLimit=-1990, **described)
    rgb, record = _read(tmp_path, file, scaling="percentiles:0:100")
    assert (record["low"], record["high"]) == (values[:, 20:].min(), values[:, 20:].max())
    assert (record["n_padding"], record["share_clipped"]) == (800, 0)
    assert (rgb[:, :20] == 0).all()
    assert {0, 255} <= set(rgb[:, 20:].ravel().tolist())
    everything = _read(tmp_path, _dicom(padded), scaling="percentiles:0:100")[1]
    assert everything["low"] == -2000


def test_padding_may_be_written_with_the_wrong_sign(tmp_path: Path) -> None:
    values = np.full((10, 10), 500, np.int16)
    values[0] = -2000
    file = _dicom(values)
    file.add_new("PixelPaddingValue", "US", 65536 - 2000)
    assert _read(tmp_path, file)[1]["n_padding"] == 10


def test_an_image_of_padding_alone_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UnreadableImageError, match=r"scan\.dcm: every pixel is padding"):
        _read(tmp_path, _dicom(np.zeros((9, 9), np.uint16), PixelPaddingValue=0))


def test_floating_point_pixels_need_a_window(tmp_path: Path) -> None:
    values = np.linspace(-1, 1, 1200).astype(np.float32).reshape(40, 30)
    absent = {"PixelData": None, "PixelRepresentation": None, "BitsStored": None, "HighBit": None}
    file = _dicom(values, **absent)
    file.add_new("FloatPixelData", "OF", values.tobytes())
    with pytest.raises(UnreadableImageError, match="floating-point pixels have no stated range"):
        _read(tmp_path, file)
    grey = _grey(tmp_path, file, scaling="window:-1:1")
    assert (grey == np.round((values.astype(float) + 1) / 2 * 255)).all()


def test_colours_of_pixels_and_of_planes_are_the_same(tmp_path: Path) -> None:
    rgb = np.random.default_rng(1).integers(0, 256, (12, 10, 3), dtype=np.uint8)
    assert (_read(tmp_path, _dicom(rgb))[0] == rgb).all()
    planes = np.ascontiguousarray(rgb.transpose(2, 0, 1)).tobytes()
    assert (_read(tmp_path, _dicom(rgb, PixelData=planes, PlanarConfiguration=1))[0] == rgb).all()
    ybr = pydicom.pixels.convert_color_space(rgb, "RGB", "YBR_FULL")
    back = _read(tmp_path, _dicom(ybr, PhotometricInterpretation="YBR_FULL"))[0]
    assert np.abs(back.astype(int) - rgb).max() <= 2
    assert (_read(tmp_path, _dicom(rgb), channels="2,1,0")[0] == rgb[..., ::-1]).all()


def test_lossless_jpeg_and_jpeg_ls_keep_values_and_signs(tmp_path: Path) -> None:
    signed = GREY16.astype(np.int16) - 2048
    rgb = np.random.default_rng(1).integers(0, 256, (12, 10, 3), dtype=np.uint8)

    def lossless(values: np.ndarray) -> bytes:
        kept = "RGB" if values.ndim == 3 else None
        return imagecodecs.jpeg8_encode(
            values, lossless=True, predictor=1, colorspace=kept, outcolorspace=kept
        )

    for values, stored, bits in ((GREY16, GREY16, 16), (signed, signed & 0xFFF, 12), (rgb, rgb, 8)):
        as_is = _read(tmp_path, _dicom(values, BitsStored=bits, HighBit=bits - 1))[0]
        for syntax, encoded in (
            (uid.JPEGLosslessSV1, lossless(stored.astype(f"u{stored.dtype.itemsize}"))),
            (uid.JPEGLSLossless, imagecodecs.jpegls_encode(stored.astype(np.uint16))),
        ):
            if values is rgb and syntax == uid.JPEGLSLossless:
                encoded = imagecodecs.jpegls_encode(rgb)
            file = _dicom(values, BitsStored=bits, HighBit=bits - 1, syntax=syntax)
            file.PixelData = encapsulate([encoded])
            assert (_read(tmp_path, file)[0] == as_is).all(), (bits, syntax.name)


FRAMES = np.random.default_rng(2).integers(0, 256, (5, 12, 10), dtype=np.uint8)


def test_a_frame_has_to_be_said_where_there_are_several(tmp_path: Path) -> None:
    file = _dicom(FRAMES, NumberOfFrames=5)
    for page in range(5):
        rgb, record = _read(tmp_path, file, page)
        assert (rgb[..., 0] == FRAMES[page]).all()
        assert (record["frame"], record["n_frames"]) == (page, 5)
    with pytest.raises(UnreadableImageError, match="has 5 pages; choose one by adding #page=0"):
        _read(tmp_path, file)
    with pytest.raises(UnreadableImageError, match="has no page 5; its 5 are counted from 0"):
        _read(tmp_path, file, 5)
    assert "frame" not in _read(tmp_path, _dicom(FRAMES[0]), 0)[1]


def test_the_other_frames_are_not_decoded(tmp_path: Path) -> None:
    whole = [imagecodecs.jpegls_encode(frame) for frame in FRAMES]
    file = _dicom(FRAMES, NumberOfFrames=5, syntax=uid.JPEGLSLossless)
    file.PixelData = encapsulate([b"no frame", *whole[1:4], b"no frame"])
    assert (_read(tmp_path, file, 2)[0][..., 0] == FRAMES[2]).all()
    for broken in (0, 4):
        with pytest.raises(UnreadableImageError, match="truncated or corrupt"):
            _read(tmp_path, file, broken)


def test_enhanced_files_keep_the_window_with_each_frame(tmp_path: Path) -> None:
    file = _dicom(FRAMES, NumberOfFrames=5, WindowCenter=50, WindowWidth=50)
    file.SharedFunctionalGroupsSequence = Sequence([Dataset()])
    file.SharedFunctionalGroupsSequence[0].PixelValueTransformationSequence = Sequence(
        [_elements({"RescaleSlope": 2, "RescaleIntercept": 0})]
    )
    of_frames = []
    for number in range(5):
        window = {
            "WindowCenter": 200 + number,
            "WindowWidth": 100,
            "WindowCenterWidthExplanation": "x",
        }
        of_frames.append(_elements({"FrameVOILUTSequence": Sequence([_elements(window)])}))
    file.PerFrameFunctionalGroupsSequence = Sequence(of_frames)
    rgb, record = _read(tmp_path, file, 3)
    assert (record["window"]["center"], record["window"]["width"]) == (203, 100)
    expected = np.clip((FRAMES[3] * 2.0 - 202.5) / 99 + 0.5, 0, 1) * 255
    assert (rgb[..., 0] == np.round(expected)).all()


def _without(*keywords: str) -> FileDataset:
    return _dicom(**dict.fromkeys(keywords))


def _of_jpeg(values: np.ndarray, encoded: bytes, syntax: str = uid.JPEGBaseline8Bit) -> FileDataset:
    file = _dicom(values, syntax=syntax)
    file.PixelData = encapsulate([encoded])
    return file


SMALL = np.full((12, 10), 90, np.uint8)
JPEG = imagecodecs.jpeg_encode(FRAMES[0], level=95)
BROKEN = {
    "no pixel data": (_without("PixelData"), "DICOM without pixel data"),
    "no image": (_without("Rows", "Columns", "PixelData"), "DICOM without an image"),
    "no photometric": (_without("PhotometricInterpretation"), "truncated or corrupt DICOM"),
    "a bomb of one frame": (_dicom(Rows=60000, Columns=60000), "60000 x 60000 px is above"),
    "a bomb of frames": (
        _dicom(FRAMES, NumberOfFrames=2_000_000_000, Rows=4000, Columns=4000),
        "2,000,000,000 frames of 4000 x 4000 px are above",
    ),
    "fewer pixels than declared": (_dicom(Rows=41), "2,400 bytes of pixels, 2,460 declared"),
    "one pixel": (_dicom(GREY16[:1, :1]), "1 x 1 px is too small"),
    "a line": (_dicom(np.zeros((2, 500), np.uint16)), "500 x 2 px is thinner than 200:1"),
    "no window width": (_dicom(WindowCenter=3, WindowWidth=0), "width of its window is not pos"),
    "strange window": (
        _dicom(WindowCenter=3, WindowWidth=9, VOILUTFunction="QUIXOTIC"),
        "a window of a function that is not read",
    ),
    "strange colours": (
        _dicom(PhotometricInterpretation="HSV"),
        "photometric interpretation that is not read",
    ),
    "private syntax": (_dicom(syntax="1.2.826.77341004.9"), "of no known transfer syntax"),
    "video": (_of_jpeg(SMALL, JPEG, uid.MPEG2MPML), "compressed in a way that is not read"),
    "a frame larger than declared": (
        _of_jpeg(SMALL, imagecodecs.jpeg_encode(np.zeros((3000, 2000), np.uint8))),
        r"a frame of .2000, 3000. px where .10, 12. is declared",
    ),
    "JPEG 2000 larger than declared": (
        _of_jpeg(
            SMALL, imagecodecs.jpeg2k_encode(np.zeros((300, 200), np.uint8)), uid.JPEG2000Lossless
        ),
        r"a frame of .200, 300. px where",
    ),
    "JPEG-LS larger than declared": (
        _of_jpeg(
            SMALL, imagecodecs.jpegls_encode(np.zeros((300, 200), np.uint8)), uid.JPEGLSLossless
        ),
        r"a frame of .200, 300. px where",
    ),
    "a scan that is cut": (
        _of_jpeg(SMALL, JPEG[:-30] + b"\xff\xd9"),
        "truncated or corrupt",
    ),
    "run lengths that are too long": (
        _of_jpeg(SMALL, bytes(9000), uid.RLELossless),
        "a frame of 9,000 bytes for",
    ),
    "17 of 16 bits": (_dicom(BitsStored=17), "17 of 16 bits stored"),
}


@pytest.mark.parametrize("name", BROKEN)
def test_a_broken_file_is_refused_by_name_and_reason(tmp_path: Path, name: str) -> None:
    file, reason = BROKEN[name]
    page = 0 if "NumberOfFrames" in file else None
    with pytest.raises(UnreadableImageError, match=rf"scan\.dcm: .*{reason}"):
        _read(tmp_path, file, page)


def test_compressed_pixels_that_are_not_in_fragments_are_refused(tmp_path: Path) -> None:
    path = _saved(tmp_path, _dicom())
    was, becomes = uid.ExplicitVRLittleEndian.encode(), uid.RLELossless.encode()
    path.write_bytes(path.read_bytes().replace(was, becomes, 1))
    with pytest.raises(UnreadableImageError, match="compressed pixel data that are not in fragme"):
        dicom.read(path, None, Reading())


def test_any_cut_before_the_end_of_the_pixels_is_refused(tmp_path: Path) -> None:
    files = [
        _dicom(),
        _of_jpeg(SMALL, JPEG),
        _of_jpeg(SMALL, imagecodecs.jpegls_encode(SMALL), uid.JPEGLSLossless),
    ]
    for file in files:
        content = _saved(tmp_path, file).read_bytes()
        path = tmp_path / "cut.dcm"
        for length in [*range(1, len(content), 97), len(content) - 1, len(content) - 9]:
            path.write_bytes(content[:length])
            with pytest.raises(UnreadableImageError, match=r"cut\.dcm: "):
                dicom.read(path, None, Reading())


def _surfaces(path: Path, capfd: pytest.CaptureFixture[str], page: int | None = None) -> str:
    """Everything that leaves the reader: record, error with its chain, warnings, logs, output."""
    heard = io.StringIO()
    handler = logging.StreamHandler(heard)
    logging.getLogger().addHandler(handler)
    failure: UnreadableImageError | None = None
    left: list[str] = []
    try:
        with warnings.catch_warnings(record=True) as warned:
            warnings.simplefilter("always")
            left.append(json.dumps(dicom.read(path, page, Reading())[1]))
    except UnreadableImageError as error:
        failure = error
    finally:
        logging.getLogger().removeHandler(handler)
    if failure is not None:
        assert (failure.__context__, failure.__cause__) == (None, None)
        left += traceback.format_exception(failure)
    output = capfd.readouterr()
    left += [str(each.message) for each in warned]
    return "\n".join([*left, heard.getvalue(), output.out, output.err])


def _require_no_secret(surfaces: str, name: str) -> None:
    for secret in (*SECRETS, "Quixote", "Toboso", "77341"):
        assert secret.lower() not in surfaces.lower(), (name, secret)


def test_no_planted_tag_leaves_the_reader_of_a_good_file(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    path = _saved(tmp_path, _dicom(WindowCenter=2000, WindowWidth=3000))
    assert all(secret.encode() in path.read_bytes() for secret in SECRETS)
    surfaces = _surfaces(path, capfd)
    assert '"format": "DICOM"' in surfaces
    _require_no_secret(surfaces, "good")
    _require_no_secret(json.dumps([str(each) for each in dicom.READ]), "elements read")


@pytest.mark.parametrize("name", BROKEN)
def test_no_planted_tag_leaves_the_reader_of_a_broken_file(
    tmp_path: Path, capfd: pytest.CaptureFixture[str], name: str
) -> None:
    file = BROKEN[name][0]
    surfaces = _surfaces(_saved(tmp_path, file), capfd, 0 if "NumberOfFrames" in file else None)
    assert "UnreadableImageError" in surfaces
    _require_no_secret(surfaces, name)


TECHNICAL = {
    "WindowCenter": "DS",
    "WindowWidth": "DS",
    "RescaleSlope": "DS",
    "NumberOfFrames": "IS",
    "PhotometricInterpretation": "CS",
    "VOILUTFunction": "CS",
    "Rows": "LO",
    "BitsStored": "LO",
    "PixelPaddingValue": "LO",
}


@pytest.mark.parametrize("keyword", TECHNICAL)
def test_a_name_in_a_technical_element_does_not_leave_either(
    tmp_path: Path, capfd: pytest.CaptureFixture[str], keyword: str
) -> None:
    # a name behind which pydicom puts "could not convert string to float: 'QUIXOTE^ALONSO'"
    window = {"WindowCenter": "2000", "WindowWidth": "3000"}
    path = _saved(tmp_path, _dicom(**window, RescaleSlope="1", RescaleIntercept="0"))
    file = pydicom.dcmread(path)
    file.add(pydicom.DataElement(keyword, TECHNICAL[keyword], "", already_converted=True))
    file[keyword]._value = "QUIXOTE^ALONSO"
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        path = _saved(tmp_path, file, "named.dcm")
    assert path.read_bytes().count(b"QUIXOTE^ALONSO") == 1
    surfaces = _surfaces(path, capfd)
    assert "UnreadableImageError" in surfaces
    _require_no_secret(surfaces, keyword)


def test_no_planted_tag_leaves_the_reader_of_damaged_files(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    content = _saved(tmp_path, _dicom(WindowCenter=2000, WindowWidth=3000)).read_bytes()
    rng = np.random.default_rng(3)
    path = tmp_path / "damaged.dcm"
    n_refused = 0
    for _ in range(200):
        damaged = bytearray(content)
        for position in rng.integers(128, content.index(b"\xe0\x7f\x10\x00") + 12, 4):
            damaged[position] = rng.integers(256)
        path.write_bytes(damaged)
        surfaces = _surfaces(path, capfd)
        n_refused += "UnreadableImageError" in surfaces
        _require_no_secret(surfaces, "damaged")
    assert 30 < n_refused < 200


def test_pydicom_may_still_warn_elsewhere(tmp_path: Path) -> None:
    before, level = list(warnings.filters), logging.getLogger("pydicom").level
    with pytest.raises(UnreadableImageError):
        _read(tmp_path, _without("PixelData"))
    assert list(warnings.filters) == before
    assert logging.getLogger("pydicom").level == level


def test_dicom_is_known_by_its_content_or_else_its_name(tmp_path: Path) -> None:
    head = _saved(tmp_path, _dicom()).read_bytes()[:4096]
    assert dicom.is_dicom(head, tmp_path / "scan")
    assert dicom.is_dicom(b"\x08\0\x05\0" * 50, tmp_path / "old.DCM")
    assert not dicom.is_dicom(b"II*\0" * 50, tmp_path / "scan.dcm")
    assert not dicom.is_dicom(b"anything" * 50, tmp_path / "scan.dcm")
    (tmp_path / "bare.dcm").write_bytes(head[132:])
    with pytest.raises(UnreadableImageError, match=re.escape("DICOM without its file header")):
        dicom.read(tmp_path / "bare.dcm", None, Reading())


@pytest.mark.parametrize(
    ("elements", "expected"),
    [
        ({"PixelSpacing": [0.5, 0.25]}, [250.0, 500.0]),  # rows first: their distance is a height
        ({"PixelSpacing": [0.7, 0.7]}, [700.0, 700.0]),
        ({"PixelSpacing": [0.0, 0.7]}, None),
        ({"PixelSpacing": [-0.7, 0.7]}, None),
        ({"PixelSpacing": 0.7}, None),
        ({"PixelSpacing": [0.7, 0.7, 0.7]}, None),
        ({"PixelSpacing": None}, None),
        ({"ImagerPixelSpacing": [0.14, 0.14]}, None),  # of the detector, not of the body
        ({"NominalScannedPixelSpacing": [0.1, 0.1]}, None),
    ],
)
def test_pixel_spacing_is_the_size_of_a_pixel(
    tmp_path: Path, elements: dict[str, Any], expected: list[float] | None
) -> None:
    _, record = dicom.read(_saved(tmp_path, _dicom(**elements)), None, Reading())
    assert record.get("pixel_um") == (None if expected is None else pytest.approx(expected))


def test_enhanced_files_state_the_size_of_a_pixel_in_their_groups(tmp_path: Path) -> None:
    measures, group = Dataset(), Dataset()
    measures.PixelSpacing = [0.2, 0.1]
    group.PixelMeasuresSequence = Sequence([measures])
    file = _dicom(SharedFunctionalGroupsSequence=Sequence([group]))
    _, record = dicom.read(_saved(tmp_path, file), None, Reading())
    assert record["pixel_um"] == pytest.approx([100.0, 200.0])


def test_the_size_of_a_pixel_is_what_pydicom_reads_of_real_files(realdata: Path) -> None:
    n_stated = 0
    for path in sorted((realdata / "dicom_small" / "images").glob("*.dcm")):
        stated = pydicom.dcmread(path, force=True).get("PixelSpacing")
        try:
            _, record = dicom.read(path, None, Reading())
        except UnreadableImageError:
            continue
        expected = None if stated is None else [1000 * float(each) for each in stated[::-1]]
        assert record.get("pixel_um") == (expected and pytest.approx(expected)), path.name
        n_stated += stated is not None
    assert n_stated > 2
