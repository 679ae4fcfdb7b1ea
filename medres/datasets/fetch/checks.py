"""What is looked at to check the assumptions about each data set."""

import hashlib
import json
import zipfile
from collections import Counter
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any, Protocol

import pyarrow as pa
import pyarrow.parquet as pq
from PIL import Image

from medres.datasets import cervical, compound, hub_tables, protein_atlas, subcellular, wsi
from medres.datasets.fetch import assumed, gdc, plan
from medres.datasets.fetch.probe import PIECE_BYTES, Probe, Sampler
from medres.datasets.fetch.transfer import HUB_HOST

N_ITEMS = 3
N_GENES = 5
"""Genes whose XML is looked at for images."""
TIFF = (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")
"""How TIFF begins, small or big, as slides of Aperio are."""


class Findings(Protocol):
    """Takes what is found of each assumption."""

    def of(self, key: str) -> AbstractContextManager[None]:
        """Look at one assumption."""

    def found(self, key: str, what: str, is_right: bool = True) -> None:
        """Say what was found."""

    def left(self, key: str, why: str) -> None:
        """Say why it cannot be checked."""

    def has(self, key: str) -> bool:
        """Return whether it was found to hold."""


def _hub(about: assumed.Hub) -> Callable[[Sampler, Probe, Findings], None]:
    source = about.module.SOURCE

    def check(sampler: Sampler, probe: Probe, says: Findings) -> None:
        with says.of("address"):
            commit, files = plan.wanted(probe, source, "", 0)
            pinned = source.hub_revision
            says.found("address", f"commit {commit}", pinned in ("main", commit))
        if not says.has("address"):
            return
        shards: dict[str, list[str]] = {}
        urls = {file.path: file.url for file in files}
        with says.of("files"):
            for path in urls:
                place = sampler.folder / "names" / path
                place.parent.mkdir(parents=True, exist_ok=True)
                place.touch()
            names = hub_tables.shards(sampler.folder / "names")
            shards = {
                split: [
                    urls[path.relative_to(sampler.folder / "names").as_posix()] for path in all_
                ]
                for split, all_ in names.items()
            }
            counts = {split: len(each) for split, each in shards.items()}
            lacking = hub_tables.lacking(names)
            is_right = set(counts) == set(about.counts) and all(
                counts[split] == number for split, number in about.shards.items()
            )
            says.found("files", lacking[0] if lacking else _shown(counts), is_right and not lacking)
        with says.of("licence"):
            answer = probe.json(f"https://{HUB_HOST}/api/datasets/{about.licence_repo}")
            licence = str((answer.get("cardData") or {}).get("license", "none"))
            says.found("licence", licence, licence == about.licence)
        if about.sha256:
            has = {file.path.rpartition("/")[2]: file.sha256 for file in files}
            other = [name for name, sha256 in about.sha256.items() if has.get(name) != sha256]
            what = f"{len(about.sha256) - len(other)} of {len(about.sha256)} are the same"
            says.found("hashes", what, not other)
        if not shards:
            return
        with says.of("columns"):
            first = shards["test"][0]
            rows = _first_rows(probe, first)
            missing = [name for name in about.columns if name not in rows.column_names]
            says.found("columns", ", ".join(rows.column_names), not missing)
        if not says.has("columns"):
            return
        with says.of("images"):
            seen = [
                hub_tables.embedded(cell, f"row {number}")
                for number, cell in enumerate(rows.column("image").to_pylist())
            ]
            says.found("images", f"{len(seen)} images, first {_px(seen[0].size_px)}")
        with says.of("reader"):
            found = about.module.read(
                _written(sampler.folder, first, rows), sampler.folder / "work"
            )
            says.found("reader", f"{len(found.table)} questions of {rows.num_rows} rows")
        with says.of("counts"):
            says.found("counts", *_counted(probe, about, shards, urls))

    return check


def _first_rows(probe: Probe, url: str) -> pa.Table:
    """Return the first rows of a shard; of the rest as little comes as may be."""
    with probe.open(url) as file:
        if url.endswith(".parquet"):
            opened = pq.ParquetFile(file, buffer_size=PIECE_BYTES, pre_buffer=False)
            return pa.Table.from_batches([next(opened.iter_batches(batch_size=N_ITEMS))])
        with pa.ipc.open_stream(file) as stream:
            return pa.Table.from_batches([stream.read_next_batch().slice(0, N_ITEMS)])


def _written(folder: Path, url: str, rows: pa.Table) -> Path:
    """Return a folder with these rows as the only shard of test."""
    place = folder / "rows" / "data"
    place.mkdir(parents=True)
    if url.endswith(".parquet"):
        pq.write_table(rows, place / "test-00000-of-00001.parquet")
    else:
        with pa.ipc.new_stream(place / "ubench-test-00000-of-00001.arrow", rows.schema) as stream:
            stream.write_table(rows)
    return place.parent


def _counted(
    probe: Probe, about: assumed.Hub, shards: dict[str, list[str]], urls: dict[str, str]
) -> tuple[str, bool]:
    counts: dict[str, int] = {}
    for split, addresses in shards.items():
        if addresses[0].endswith(".parquet"):
            counts[split] = sum(_rows_of(probe, url) for url in addresses)
    if not counts:
        told = next(url for path, url in urls.items() if path.endswith("dataset_info.json"))
        splits = json.loads(probe.whole(told))["splits"]
        counts = {name: int(each["num_examples"]) for name, each in splits.items()}
    return _shown(counts), counts == about.counts


def _rows_of(probe: Probe, url: str) -> int:
    with probe.open(url) as file:
        return int(pq.ParquetFile(file, pre_buffer=False).metadata.num_rows)


def _compound(sampler: Sampler, probe: Probe, says: Findings) -> None:
    folder = sampler.folder
    tables = {
        compound.IMAGE_TABLE: compound.fields_of,
        compound.MOA_TABLE: compound.mechanisms_of,
    }
    with says.of("address"):
        sizes = [sampler.get(compound.BASE + name, name).stat().st_size for name in tables]
        says.found("address", f"tables of {sizes[0]:,} and {sizes[1]:,} bytes")
    if not says.has("address"):
        return
    with says.of("columns"):
        for name, read in tables.items():
            read(folder / name)
        says.found("columns", "both tables have all that are read")
    if not says.has("columns"):
        return
    fields, notes = compound.with_mechanisms(folder)
    plates = sorted(fields["plate"].unique())
    told = "; ".join(notes[1:]) or "all as known"
    n_plates = f"{len(plates)} plates, {len(fields):,} fields"
    is_known = len(plates) == compound.N_PLATES and not notes[1:]
    says.found("counts", f"{n_plates}: {told}", is_known)
    archives = [f"{compound.BASE}BBBC021_v1_images_{plate}.zip" for plate in plates]
    with says.of("archives"):
        tried = [archives[0], archives[len(archives) // 2], archives[-1]]
        pieces = [probe.read(url, 0, 4) for url in tried]
        odd = [url for url, (begin, _) in zip(tried, pieces, strict=True) if begin != b"PK\3\4"]
        sizes_mb = " and ".join(f"{size / 1e6:,.0f}" for _, size in pieces)
        what = f"{odd[0]} is not a zip" if odd else f"zips of {sizes_mb} MB"
        says.found("archives", what, not odd)
    if not says.has("archives"):
        return
    own = fields[fields["plate"] == plates[0]]
    with says.of("members"), _zip(probe, archives[0]) as opened:
        wanted = {f"{plates[0]}/{name}" for each in compound.CHANNELS for name in own[each]}
        absent = sorted(wanted - set(opened.namelist()))
        what = f"{len(wanted) - len(absent)} of {len(wanted)} images of {plates[0]} are in its zip"
        says.found("members", f"{what}, not {absent[0]}" if absent else what, not absent)
        if absent:
            return
        shown = own[own["moa"].notna() & (own["compound"] != "DMSO")].iloc[0]
        files = [f"{plates[0]}/{shown[channel]}" for channel in compound.CHANNELS]
        with says.of("images"):
            _unpacked(opened, files, folder)
            kinds = {_kind(folder / name) for name in files}
            right = {("TIFF", "I;16", compound.IMAGE_PX)}
            says.found("images", _kinds(kinds), kinds <= right)
    if says.has("members"):
        with says.of("reader"):
            found = compound.read(folder, folder / "work", missing="exclude", n_test=1)
            says.found("reader", f"{len(found.table)} question of one field")
    says.left("licence", f"to be read at {compound.SOURCE.home}")


def _cervical(sampler: Sampler, probe: Probe, says: Findings) -> None:
    folder, url = sampler.folder / "set", cervical.SOURCE.files[0].url
    with says.of("archive"):
        begin, size = probe.read(url, 0, 4)
        what = f"zip of {size / 1e6:,.0f} MB" if begin == b"PK\3\4" else f"begins with {begin!r}"
        says.found("archive", what, begin == b"PK\3\4")
    if not says.has("archive"):
        return
    with says.of("folders"), _zip(probe, url) as opened:
        members = [each for each in opened.infolist() if not each.is_dir()]
        for member in members:
            place = folder / member.filename
            place.parent.mkdir(parents=True, exist_ok=True)
            place.touch()
        found = cervical.read(folder, sampler.folder / "work")
        table = found.table
        label = {answer: label for label, answer in cervical.CLASSES.items()}
        names = table["reference"].map(label)
        counts = dict(Counter(names))
        says.found("folders", _shown(counts))
        says.found("counts", _shown(counts), counts == cervical.COUNTED)
        named = table["group"] != table["image"]
        slides = table[named].groupby(names)["group"].nunique().to_dict()
        says.found("slides", _shown(slides) or "no name tells one", slides == cervical.SLIDES)
        repeats = Counter(each.filename for each in members)
        twice = [name for name, number in repeats.items() if number > 1]
        contents = {(each.filename, each.CRC) for each in members}
        says.found("twice", f"{len(twice)} names", len(contents) == len(repeats))
        says.found("reader", f"{len(table)} questions")
        with says.of("images"):
            shown = list(table.drop_duplicates("reference")["image"])[:N_ITEMS]
            _unpacked(opened, shown, folder)
            kinds = {_kind(folder / name) for name in shown}
            right = {("JPEG", "RGB", cervical.IMAGE_PX)}
            says.found("images", _kinds(kinds), kinds <= right)
    says.left("licence", f"to be read at {cervical.SOURCE.home}")


def _wsi(sampler: Sampler, probe: Probe, says: Findings) -> None:
    folder = sampler.folder
    with says.of("address"):
        for file in wsi.SOURCE.files:
            sampler.get(file.url, file.path)
        says.found("address", f"{len(wsi.SOURCE.files)} files")
    if not says.has("address"):
        return
    paths = {file.path.rpartition("/")[2]: folder / file.path for file in wsi.SOURCE.files}
    digests = {name: hashlib.sha256(path.read_bytes()).hexdigest() for name, path in paths.items()}
    same = [name for name, sha256 in wsi.SHA256.items() if digests[name] == sha256]
    says.found("hashes", f"{len(same)} of {len(digests)} are the same", len(same) == len(digests))
    cases: list[str] = []
    with says.of("fields"):
        cases = wsi.cases(folder)
        wsi.train_column(paths[wsi.SPLITS_TABLE])
        says.found("fields", f"questions on {len(cases)} cases")
    if not cases:
        return
    counts = {split: len(wsi.parsed(paths[name])) for split, name in wsi.FILES.items()}
    says.found("counts", _shown(counts), counts == wsi.N_RECORDS)
    with says.of("reader"):
        for case in cases:
            (folder / "slides").mkdir(exist_ok=True)
            (folder / "slides" / f"{case}.png").touch()
        found = wsi.read(folder, folder / "work")
        says.found("reader", f"{len(found.table):,} questions; no slide is opened for it")
    with says.of("slides"):
        offered = gdc.find(sampler, cases[:N_ITEMS])
        slides = [each[0] for each in offered.values()]
        names = [str(each["file_name"]) for each in slides]
        odd = [name for name in names if "-DX1." not in name or not name.endswith(".svs")]
        what = f"{len(slides)} of {N_ITEMS} cases have one, first {(odd or names or ['none'])[0]}"
        says.found("slides", what, len(slides) == N_ITEMS and not odd)
        with says.of("images"):
            begins = [probe.read(f"{gdc.API}/data/{each['file_id']}", 0, 4)[0] for each in slides]
            other = [begin for begin in begins if begin not in TIFF]
            what = f"one begins with {other[0]!r}" if other else f"{len(begins)} begin as TIFF"
            says.found("images", what, bool(begins) and not other)
    says.left("licence", f"to be read at {wsi.SOURCE.home}")


def _subcellular(sampler: Sampler, probe: Probe, says: Findings) -> None:
    folder, release = sampler.folder, protein_atlas.RELEASE
    genes: list[str] = []
    with says.of("address"):
        url = f"{release}/download/{protein_atlas.LOCATIONS}"
        table = sampler.get(url, protein_atlas.LOCATIONS)
        says.found("address", f"{table.stat().st_size:,} bytes")
    if not says.has("address"):
        return
    with says.of("columns"):
        genes = protein_atlas.genes_of(table)
        says.found("columns", f"{len(genes):,} genes", bool(genes))
    n_images, n_odd = 0, 0
    with says.of("entries"):
        for gene in genes[:N_GENES]:
            entry = sampler.get(f"{release}/{gene}.xml", f"genes/{gene}.xml")
            offered, odd = protein_atlas.offered_by(entry, gene)
            n_images, n_odd = n_images + len(offered), n_odd + odd
            if n_images >= N_ITEMS:
                break
        what = f"{n_images} images with line and place, {n_odd} without or of another name"
        says.found("entries", what, n_images > 0)
    if not says.has("entries"):
        return
    with says.of("images"):
        protein_atlas.fetch(sampler, folder, limit=min(N_ITEMS, n_images))
        kinds = {_kind(path) for path in (folder / "images").rglob("*") if path.is_file()}
        right = {("JPEG", "RGB")}
        says.found("images", _kinds(kinds), {kind[:2] for kind in kinds} <= right)
    if says.has("images"):
        with says.of("reader"):
            found = subcellular.read(folder, folder / "work", n_test=1)
            unnamed = [note for note in found.notes if "no plate and well" in note]
            what = f"{len(found.table)} questions" + "".join(f"; {note}" for note in unnamed)
            says.found("reader", what, not unnamed)
    says.left("licence", f"to be read at {release}/about/licence")


def _zip(probe: Probe, url: str) -> zipfile.ZipFile:
    """Return a zip at its address; what failed on the line is not taken for a bad zip."""
    file = probe.open(url)
    try:
        return zipfile.ZipFile(file)
    except zipfile.BadZipFile as error:
        if probe.failure is not None:
            raise probe.failure from error
        raise


def _unpacked(opened: zipfile.ZipFile, names: list[str], folder: Path) -> None:
    for name in names:
        place = folder / name
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_bytes(opened.read(name))


def _kind(path: Path) -> tuple[str, str, tuple[int, int]]:
    """Return format, mode and size of a picture whose pixels can be read."""
    try:
        with Image.open(path) as image:
            image.load()
            return str(image.format), image.mode, image.size
    except (OSError, SyntaxError) as error:
        raise ValueError(f"{path.name} is not a picture ({error})") from error


def _kinds(kinds: set[tuple[str, str, tuple[int, int]]]) -> str:
    return ", ".join(f"{form} {mode} {_px(size)}" for form, mode, size in sorted(kinds))


def _px(size: tuple[int, int]) -> str:
    return f"{size[0]} x {size[1]}"


def _shown(counts: dict[str, Any]) -> str:
    return ", ".join(f"{name} {number:,}" for name, number in counts.items())


CHECKS: dict[str, Callable[[Sampler, Probe, Findings], None]] = {
    "subcellular": _subcellular,
    "compound": _compound,
    "cervical": _cervical,
    "wsi": _wsi,
    **{about.module.SOURCE.name: _hub(about) for about in assumed.HUBS},
}
