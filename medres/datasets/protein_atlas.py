"""Images of the Human Protein Atlas, with cell line and localizations, from one release.

The Atlas has no archive of images: the XML of each gene says which antibody stained which cell
line, where the protein was seen, and where the images are. The release is pinned by its host,
as the current one changes; not verified against the live site are that host's addresses and the
layout of the XML, so every file that is not as expected is named.
"""

import hashlib
import json
import re
import zipfile
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit
from xml.etree.ElementTree import Element, ParseError

import pandas as pd
from defusedxml import DefusedXmlException, ElementTree  # type: ignore[import-untyped]

if TYPE_CHECKING:
    from medres.datasets.fetch import Downloader

RELEASE = "https://v23.proteinatlas.org"
LOCATIONS = "subcellular_location.tsv.zip"
CAPTIONS = "captions.json"
TAKEN = re.compile(
    r"(?:^|/)(?P<antibody>\d+)[/_](?P<plate>\d+)_(?P<well>[A-Z]+\d+)_(?P<field>\d+)"
    r"(?:_cr\w+?)?_(?P<channels>(?:blue|red|green|yellow)(?:_(?:blue|red|green|yellow))*)\.jpe?g$"
)
"""15813/2006_A9_4_red_green.jpg: antibody, plate, well, field, channels."""


def fetch(downloader: "Downloader", folder: Path, *, limit: int) -> None:
    """Fetch images of the release and write `captions.json`, in the authors' layout, last.

    Genes come in the order of the release's table of locations, images in that of their XML.

    Args:
        downloader: Brings files into the folder.
        folder: Where `images/`, `genes/` and `captions.json` go.
        limit: Number of images; zero means all of the Atlas.

    Raises:
        OSError: If the connection stays bad or the disk has no room.
        ValueError: If the folder holds a `captions.json` of another origin, or a file of the
            Atlas has another layout than is known.
    """
    captions = folder / CAPTIONS
    if captions.is_file() and f'"list_made_from": "{RELEASE}"' not in captions.read_text("utf-8"):
        raise ValueError(f"{captions} was not made from {RELEASE}; fetch into another folder")
    table = downloader.get(f"{RELEASE}/download/{LOCATIONS}", LOCATIONS, check=genes_of)
    records: list[dict[str, Any]] = []
    n_left_out = 0
    for gene in genes_of(table):
        entry = downloader.get(f"{RELEASE}/{gene}.xml", f"genes/{gene}.xml", check=parsed)
        offered, n_odd = offered_by(entry, gene)
        n_left_out += n_odd
        for record in offered[: limit - len(records) if limit else None]:
            image = downloader.get(record["url"], record["file_path"], check=_require_jpeg)
            with image.open("rb") as file:
                record["md5_hash"] = hashlib.file_digest(file, "md5").hexdigest()
            records.append(record)
        if len(records) == limit:  # Never with zero: then there are none or all are wanted.
            break
    if not records:
        raise ValueError(f"no gene of {table} has an image; the layout of the XML has changed")
    if n_left_out:
        downloader.note(
            f"{n_left_out} images were left out: no cell line, no localization, or a name or a "
            "host that is not the Atlas's"
        )
    part = captions.with_name(f"{CAPTIONS}.part")
    part.write_text(json.dumps(records, indent=1), encoding="utf-8")
    part.replace(captions)
    downloader.record(CAPTIONS, url=RELEASE)


def genes_of(table: Path) -> list[str]:
    """Return the genes of the table of locations, each once."""
    try:
        rows = pd.read_csv(table, sep="\t", dtype=str, usecols=["Gene"], compression="zip")
    except (ValueError, zipfile.BadZipFile) as error:
        raise ValueError(f"{table} is not a zip of a table of genes: {error}") from error
    genes = rows["Gene"].dropna().unique()
    for gene in genes:
        if not re.fullmatch(r"ENSG\d{11}", gene):
            raise ValueError(f"{table}: {gene!r} is not an Ensembl gene id such as ENSG00000134057")
    return [str(gene) for gene in genes]


def parsed(path: Path) -> Element:
    """Return the root of a gene's XML; raise ValueError if it is none."""
    try:
        root: Element = ElementTree.parse(path).getroot()
    except (ParseError, DefusedXmlException) as error:
        raise ValueError(f"{path} is not XML of the Atlas ({error}); fetch it again") from error
    if root.tag != "entry" and root.find("entry") is None:
        raise ValueError(f"{path} is not XML of the Atlas: {root.tag} holds no entry")
    return root


def _require_jpeg(path: Path) -> None:
    with path.open("rb") as file:
        begin = file.read(3)
    if begin != b"\xff\xd8\xff":
        raise ValueError(f"{path} is not a JPEG; it begins with {begin!r}")


def offered_by(path: Path, gene: str) -> tuple[list[dict[str, Any]], int]:
    """Return the images of a gene's XML, each once, and the number of those left out."""
    root = parsed(path)
    links = [each for each in root.iter("xref") if "uniprot" in each.get("db", "").lower()]
    about = {
        "ensembl_id": gene,
        "protein": (root.findtext(".//entry/name") or root.findtext("name") or gene).strip(),
        "uniprot_id": links[0].get("id", "") if links else "",
    }
    found: dict[str, dict[str, Any]] = {}
    odd: set[str] = set()
    for antibody in root.iter("antibody"):
        for assay in antibody.iter("cellExpression"):
            if assay.get("technology") != "ICC/IF":
                continue
            for stained in assay.iter("data"):
                for address in stained.iter("imageUrl"):
                    url = re.sub("^http:", "https:", (address.text or "").strip())
                    record = _record(url, stained, about)
                    if record is None:
                        odd.add(url)
                    else:
                        found.setdefault(url, record)
    return list(found.values()), len(odd - set(found))


def _record(url: str, stained: Element, about: dict[str, str]) -> dict[str, Any] | None:
    """Return one image of one cell line stained with one antibody; None if facts are missing."""
    line, name = stained.find("cellLine"), (stained.findtext("cellLine") or "").strip()
    places = [(each.text or "").strip() for each in stained.findall("location")]
    seen_in = ", ".join(filter(None, places))
    taken = TAKEN.search(urlsplit(url).path)
    is_theirs = f".{urlsplit(url).hostname}".endswith(".proteinatlas.org")
    if line is None or not name or not seen_in or taken is None or not is_theirs:
        return None
    file = url.rpartition("/")[2]
    return {
        "image_id": f"{taken['antibody']}_{file.rpartition('.')[0]}",
        **about,
        "cell_line": name,
        "cellosaurus_id": line.get("cellosaurusID", ""),
        "localizations": seen_in,
        "url": url,
        "caption": f"{name} cells. The protein {about['protein']} is seen in: {seen_in}.",
        "file_path": f"images/{taken['antibody']}/{file}",
        "list_made_from": RELEASE,
    }
