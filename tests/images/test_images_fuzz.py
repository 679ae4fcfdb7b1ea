"""Ten thousand damaged files: each opens or is refused by name, in bounded time and memory.

The files are read in a child process: a crash, a hang or a memory blow-up ends the child, and
the mark that it writes before each file says which one it was. To see one of them again:
`python tests/test_images_fuzz.py FOLDER SEED NUMBER` writes it to FOLDER and opens it.
"""

import io
import json
import logging
import resource
import signal
import struct
import subprocess
import sys
import traceback
import warnings
import zlib
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import imagecodecs
import numpy as np
import pydicom
import tifffile
from PIL import Image
from pydicom import uid
from pydicom.dataset import Dataset, FileDataset, FileMetaDataset
from pydicom.encaps import encapsulate

from medres import images
from medres.images import Reading, UnreadableImageError, reading

N_FILES = 10_000
SEED = 20_261
SECONDS_A_FILE = 5
MAX_PIXELS = 1_000_000
ADDRESS_SPACE_BYTES = 4 << 30
GROWTH_BYTES = 256 << 20
"""A million pixels of 16 bytes, several times over: beyond this a limit is not kept."""
STRETCHED = "percentiles:1:99"
EDGES = (0, 1, 2, 3, 7, 8, 9, 16, 32, 127, 128, 255, 256, 1024, 32_767, 32_768, 65_535, 65_536)
OF_COLOURS = {
    **{"SamplesPerPixel": 3, "PlanarConfiguration": 0, "PhotometricInterpretation": "YBR_FULL_422"},
    **{"BitsAllocated": 8, "BitsStored": 8, "HighBit": 7},
}
LARGE = (2**31 - 1, 2**31, 2**32 - 1, 2**24, 10**6, 10**9)


def _saved(array: np.ndarray, kind: str, mode: str = "", **options: object) -> bytes:
    buffer = io.BytesIO()
    image = Image.fromarray(array)
    (image.convert(mode) if mode else image).save(buffer, kind, **options)
    return buffer.getvalue()


def _tiff(array: np.ndarray, **options: object) -> bytes:
    buffer = io.BytesIO()
    tifffile.imwrite(buffer, array, **options)
    return buffer.getvalue()


def _pyramid(array: np.ndarray) -> bytes:
    buffer = io.BytesIO()
    with tifffile.TiffWriter(buffer) as tiff:
        options = {"photometric": "rgb", "tile": (16, 16), "compression": "jpeg"}
        tiff.write(array, subifds=1, **options)
        tiff.write(array[::2, ::2], subfiletype=1, **options)
    return buffer.getvalue()


def _dicom(array: np.ndarray, stream: bytes = b"", syntax: str = "", **elements: Any) -> bytes:
    """Return a DICOM file of 12-bit grey, or of a compressed frame under other elements."""
    meta = FileMetaDataset()
    meta.MediaStorageSOPClassUID = pydicom.uid.SecondaryCaptureImageStorage
    meta.MediaStorageSOPInstanceUID = "1.2.3"
    meta.TransferSyntaxUID = syntax or pydicom.uid.ExplicitVRLittleEndian
    image = FileDataset("", {}, file_meta=meta, preamble=b"\0" * 128)
    image.SOPClassUID, image.SOPInstanceUID = meta.MediaStorageSOPClassUID, "1.2.3"
    image.Rows, image.Columns = array.shape[:2]
    image.SamplesPerPixel, image.PhotometricInterpretation = 1, "MONOCHROME2"
    image.BitsAllocated, image.BitsStored, image.HighBit, image.PixelRepresentation = 16, 12, 11, 0
    image.WindowCenter, image.WindowWidth = 2048, 4096
    image.PixelData = encapsulate([stream]) if stream else (array >> 4).tobytes()
    for keyword, value in elements.items():
        setattr(image, keyword, value)
    buffer = io.BytesIO()
    image.save_as(buffer, enforce_file_format=True)
    return buffer.getvalue()


def _table(entries: np.ndarray) -> Dataset:
    table = Dataset()
    table.add_new("LUTDescriptor", "US", [len(entries), 0, 16])
    table.add_new("LUTData", "US", entries.tolist())
    return table


def _palette(grey: np.ndarray) -> bytes:
    colours = {
        f"{name}PaletteColorLookupTable{what}": value
        for name in ("Red", "Green", "Blue")
        for what, value in (("Descriptor", [256, 0, 8]), ("Data", bytes(range(256))))
    }
    bits = {"BitsAllocated": 8, "BitsStored": 8, "HighBit": 7, "PixelData": grey.tobytes()}
    return _dicom(grey, PhotometricInterpretation="PALETTE COLOR", **bits, **colours)


def corpus() -> dict[str, bytes]:
    """Small whole files of every format, by name."""
    rng = np.random.default_rng(0)
    rows, columns = np.mgrid[0:24, 0:36]
    wave = 128 + 100 * np.sin(rows / 5) * np.cos(columns / 7)
    rgb = np.clip(wave[..., None] + rng.normal(0, 9, (24, 36, 3)), 0, 255).astype(np.uint8)
    grey, deep = rgb[..., 0], rgb[..., 0].astype(np.uint16) * 257
    stack = np.stack([deep, deep // 2, deep // 3])
    still = Image.fromarray(rgb)
    moving = {"save_all": True, "append_images": [still.rotate(90), still.rotate(180)]}
    rgba = np.dstack([rgb, grey])
    exif = Image.Exif()
    exif[0x0112] = 6
    return {
        "grey.jpg": _saved(grey, "JPEG"),
        "rgb.jpg": _saved(rgb, "JPEG", exif=exif),
        "progressive.jpg": _saved(rgb, "JPEG", progressive=True),
        "cmyk.jpg": _saved(rgb, "JPEG", "CMYK"),
        "rgb.png": _saved(rgb, "PNG"),
        "opaque.png": _saved(rgb, "PNG", "RGBA", exif=exif),
        "grey16.png": _saved(deep, "PNG"),
        "palette.png": _saved(rgb, "PNG", "P"),
        "moving.png": _saved(rgb, "PNG", **moving),
        "plain.tif": _tiff(rgb, photometric="rgb"),
        "lzw.tif": _tiff(rgb, photometric="rgb", compression="lzw", predictor=True),
        "deflate.tif": _tiff(deep, compression="deflate", tile=(16, 16), byteorder=">"),
        "jpeg.tif": _tiff(rgb, photometric="rgb", compression="jpeg", tile=(16, 16)),
        "jpeg2000.tif": _tiff(deep, compression="jpeg2000"),
        "webp.tif": _tiff(rgb, photometric="rgb", compression="webp"),
        "zstd.tif": _tiff(deep.astype(np.float32), compression="zstd"),
        "packbits.tif": _tiff(rgb, photometric="rgb", compression="packbits"),
        "fax.tif": _saved(grey > 128, "TIFF", compression="group4"),
        "palette.tif": _saved(rgb, "TIFF", "P"),
        "cmyk.tif": _saved(rgb, "TIFF", "CMYK"),
        "pages.tif": _tiff(stack, photometric="minisblack", metadata=None),
        "imagej.tif": _tiff(stack, imagej=True, metadata={"axes": "CYX"}),
        "ome.tif": _tiff(stack, ome=True, metadata={"axes": "CYX"}),
        "big.tif": _tiff(rgb, photometric="rgb", bigtiff=True, planarconfig="contig"),
        "pyramid.tif": _pyramid(np.tile(rgb, (2, 2, 1))),
        "rgb.bmp": _saved(rgb, "BMP"),
        "palette.bmp": _saved(rgb, "BMP", "P"),
        "palette.gif": _saved(rgb, "GIF", "P"),
        "moving.gif": _saved(rgb, "GIF", **moving),
        "lossy.webp": _saved(rgb, "WEBP"),
        "lossless.webp": _saved(rgb, "WEBP", lossless=True),
        "moving.webp": _saved(rgb, "WEBP", **moving),
        "deep.pgm": b"P5\n36 24\n65535\n" + deep.astype(">u2").tobytes(),
        "image.dcm": _dicom(deep),
        "high.dcm": _dicom(deep, PixelData=deep.tobytes(), HighBit=15),
        "bare.dcm": _dicom(deep)[132:],
        "table.dcm": _dicom(deep, VOILUTSequence=[_table(np.arange(4096) // 16)]),
        "palette.dcm": _palette(grey),
        "jpeg.dcm": _dicom(rgb, _saved(rgb, "JPEG"), uid.JPEGBaseline8Bit, **OF_COLOURS),
        "jpeg2000.dcm": _dicom(
            deep,
            imagecodecs.jpeg2k_encode(deep, level=0),
            uid.JPEG2000Lossless,
            HighBit=15,
            BitsStored=16,
        ),
        "lossless.dcm": _dicom(deep, imagecodecs.jpegls_encode(deep >> 4), uid.JPEGLSLossless),
        "grey.jp2": imagecodecs.jpeg2k_encode(deep, level=0, codecformat="JP2"),
        "veil.j2k": imagecodecs.jpeg2k_encode(rgba, level=0, codecformat="J2K"),
        "veil.avif": _saved(rgba, "AVIF"),
        "moving.avif": _saved(rgb, "AVIF", **moving),
        "veil.png": _saved(rgba, "PNG"),
        "veil.webp": _saved(rgba, "WEBP"),
        "veil.tif": _tiff(rgba, photometric="rgb", extrasamples=["assocalpha"]),
        "camera.ome.tif": _tiff(deep >> 4, ome=True, metadata={"SignificantBits": 12}),
        "greatest.tif": _tiff(deep >> 4, extratags=[(281, 3, 1, 4095, True)], metadata=None),
    }


def _place(rng: np.random.Generator, content: bytearray) -> int:
    """A byte of the file; every other time one of the first 200, where headers are."""
    return int(rng.integers(min(len(content), 200 if rng.random() < 0.5 else len(content))))


def flip(rng: np.random.Generator, content: bytearray, other: bytes) -> None:
    for _ in range(int(rng.integers(1, 9))):
        content[_place(rng, content)] ^= int(rng.integers(1, 256))


def cut(rng: np.random.Generator, content: bytearray, other: bytes) -> None:
    del content[max(_place(rng, content), 1) :]


def splice(rng: np.random.Generator, content: bytearray, other: bytes) -> None:
    begin = int(rng.integers(len(other)))
    content[_place(rng, content) :] = other[begin : begin + int(rng.integers(1, 4000))]


def insert(rng: np.random.Generator, content: bytearray, other: bytes) -> None:
    at, n = _place(rng, content), int(rng.integers(1, 64))
    content[at:at] = (rng.bytes(n), b"\0" * n, b"\xff" * n, other[:n])[int(rng.integers(4))]


def remove(rng: np.random.Generator, content: bytearray, other: bytes) -> None:
    at = _place(rng, content)
    if at > 0:
        del content[at : at + int(rng.integers(1, 64))]


def repeat(rng: np.random.Generator, content: bytearray, other: bytes) -> None:
    at = _place(rng, content)
    content[at:at] = content[at : at + int(rng.integers(1, 64))] * int(rng.integers(1, 20))


def length(rng: np.random.Generator, content: bytearray, other: bytes) -> None:
    """Write a number where a length, a size or an offset may stand."""
    value = int(rng.choice((*EDGES, *LARGE, len(content))))
    form = "<>"[int(rng.integers(2))] + "HIQ"[int(rng.integers(3))]
    packed = struct.pack(form, value & (256 ** struct.calcsize(form) - 1))
    at = _place(rng, content)
    content[at : at + len(packed)] = packed


MUTATIONS: tuple[Callable[[np.random.Generator, bytearray, bytes], None], ...] = (
    flip,
    cut,
    splice,
    insert,
    remove,
    repeat,
    length,
    length,
)


def _with_sums(content: bytearray) -> None:
    """Set the sum of every PNG chunk right, so that damage comes past the first check."""
    at = 8
    while at + 12 <= len(content):
        end = at + 8 + int.from_bytes(content[at : at + 4], "big")
        if end + 4 > len(content):
            return
        content[end : end + 4] = struct.pack(">I", zlib.crc32(content[at + 4 : end]))
        at = end + 4


def mutated(files: dict[str, bytes], seed: int, number: int) -> tuple[str, bytes]:
    """Return the name and the content of a damaged file."""
    rng = np.random.default_rng([seed, number])
    names = list(files)
    name = names[number % len(names)]
    content, done = bytearray(files[name]), []
    for _ in range(int(rng.integers(1, 4))):
        mutation = MUTATIONS[int(rng.integers(len(MUTATIONS)))]
        mutation(rng, content, files[names[int(rng.integers(len(names)))]])
        done.append(mutation.__name__)
        if not content:
            content += b"\0"
    if name.endswith("png") and rng.random() < 0.7:
        _with_sums(content)
        done.append("sums")
    return f"seed {seed} number {number}: {name} {' '.join(done)}", bytes(content)


def _peak_bytes() -> int:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def read_all(folder: Path, seed: int, numbers: range) -> None:
    """Open damaged files, and write marks, counts and faults to a folder."""
    reading.MAX_PIXELS, reading.MAX_DECODED_BYTES = MAX_PIXELS, 16 * MAX_PIXELS
    resource.setrlimit(resource.RLIMIT_AS, (ADDRESS_SPACE_BYTES, ADDRESS_SPACE_BYTES))
    signal.signal(signal.SIGALRM, signal.SIG_DFL)  # ends the process, also within C
    logging.disable(logging.CRITICAL)
    warnings.simplefilter("ignore")
    files = corpus()
    for name, content in files.items():
        assert _outcome(folder, name, content) == "opened", name
    peak = _peak_bytes()
    counts: Counter[str] = Counter()
    faults = []
    with (folder / "mark").open("w") as mark:
        for number in numbers:
            name, content = mutated(files, seed, number)
            mark.seek(0)
            mark.write(name.ljust(200))
            mark.flush()
            signal.alarm(SECONDS_A_FILE)
            try:
                counts[_outcome(folder, name.split()[4], content)] += 1
            except Exception:
                faults.append(f"{name}\n{traceback.format_exc(limit=-4)}")
            signal.alarm(0)
            if _peak_bytes() > peak + GROWTH_BYTES:
                faults.append(f"{name}: memory grew by {_peak_bytes() - peak:,} bytes")
                peak = _peak_bytes()
            if len(faults) > 20:
                break
    (folder / "outcome.json").write_text(json.dumps({"counts": counts, "faults": faults}))


def _outcome(folder: Path, name: str, content: bytes) -> str:
    (folder / "damaged").write_bytes(content)
    page = "#page=1" if name.startswith(("moving", "pages")) else ""
    how = Reading(
        scaling=STRETCHED if name.startswith(("zstd", "ome", "deflate")) else "file",
        channels="2,-,0" if name.startswith(("imagej", "ome")) else "",
    )
    try:
        image, record = images.read(folder, f"damaged{page}", how)
    except UnreadableImageError as error:
        said = str(error)
    else:
        said = ""
    if said:
        assert said.startswith(str(folder / "damaged")), said
        assert "needs more memory" not in said, said
        return "refused"
    assert image.mode == "RGB"
    assert image.width * image.height <= MAX_PIXELS
    json.dumps(record, allow_nan=False)
    return "opened"


def test_no_damaged_file_crashes_hangs_fills_memory_or_raises_anything_but_its_name(
    tmp_path: Path,
) -> None:
    child = subprocess.run(
        [sys.executable, __file__, str(tmp_path), str(SEED), f"0:{N_FILES}"],
        capture_output=True,
        text=True,
        timeout=600,
    )
    mark = tmp_path / "mark"
    last = mark.read_text().strip() if mark.exists() else "the whole files"
    assert child.returncode == 0, f"ended by {child.returncode} at {last}\n{child.stderr[-3000:]}"
    outcome = json.loads((tmp_path / "outcome.json").read_text())
    assert not outcome["faults"], "\n".join(outcome["faults"])
    # Neither is the damage without effect, nor is everything refused at the door.
    assert sum(outcome["counts"].values()) == N_FILES
    assert min(outcome["counts"]["opened"], outcome["counts"]["refused"]) > N_FILES // 10


def test_damage_is_the_same_every_time() -> None:
    files = corpus()
    first = [mutated(files, SEED, number) for number in range(100)]
    assert first == [mutated(files, SEED, number) for number in range(100)]
    assert len({content for _, content in first}) == 100


if __name__ == "__main__":
    begin, _, end = sys.argv[3].partition(":")
    read_all(Path(sys.argv[1]), int(sys.argv[2]), range(int(begin), int(end or int(begin) + 1)))
    print((Path(sys.argv[1]) / "outcome.json").read_text().replace("\\n", "\n"))
