"""What format a file has, by its first bytes: file names are not trusted."""

NIFTI = (b"n+1\0", b"ni1\0", b"n+2\0", b"ni2\0")
KINDS = {
    b"\xff\xd8\xff": "JPEG",
    b"\x89PNG\r\n\x1a\n": "PNG",
    b"GIF87a": "GIF",
    b"GIF89a": "GIF",
    b"BM": "BMP",
    b"P5": "PGM",
    b"P6": "PGM",
    b"II*\0": "TIFF",
    b"MM\0*": "TIFF",
    b"II+\0": "TIFF",
    b"MM\0+": "TIFF",
    b"\0\0\0\x0cjP  \r\n": "JPEG 2000",
    b"\xff\x4f\xff\x51": "JPEG 2000",
}
VOLUME = "save the slices that are asked about as 16-bit PNG or TIFF, or export it as DICOM"
VIDEO = "a video; save the frames that are asked about as PNG"
RAW = "save it as 16-bit TIFF"
MICROSCOPE = "export it as OME-TIFF"
UNREAD = {
    b"\xff\x0a": "JPEG XL; save it as PNG or TIFF without loss",
    b"\0\0\0\x0cJXL ": "JPEG XL; save it as PNG or TIFF without loss",
    b"II\xbc": "JPEG XR; save it as PNG or TIFF without loss",
    b"NRRD": f"an NRRD volume; {VOLUME}",
    b"ObjectType": f"a MetaImage volume; {VOLUME}",
    b"NDims": f"a MetaImage volume; {VOLUME}",
    b"MINC": f"a MINC volume; {VOLUME}",
    b"version https://git-lfs": "a Git LFS pointer, not the image; run git lfs pull",
    b"PK\x03\x04": "a ZIP archive; unpack it",
    b"\x1f\x8b": "a gzip archive (NIfTI volumes often are); unpack it, and of a volume save slices",
    b"BZh": "a bzip2 archive; unpack it",
    b"\xfd7zXZ\0": "an xz archive; unpack it",
    b"7z\xbc\xaf\x27\x1c": "a 7-Zip archive; unpack it",
    b"Rar!": "a RAR archive; unpack it",
    b"%PDF": "a PDF; save its figures as images",
    b"%!PS": "PostScript; save it as PNG",
    b"8BPS": "a Photoshop file; save it as PNG or TIFF",
    b"gimp xcf": "a GIMP file; export it as PNG or TIFF",
    b"\0\0\1\0": "an icon; save it as PNG",
    b"P4": "a bitmap of the PBM family; save it as PNG",
    b"P7": "a PAM image; save it as PNG or TIFF",
    b"P1": "PBM, PGM or PPM as text; save it as PNG",
    b"P2": "PBM, PGM or PPM as text; save it as PNG",
    b"P3": "PBM, PGM or PPM as text; save it as PNG",
    b"\x76\x2f\x31\x01": "OpenEXR; save it as 32-bit TIFF and set a window",
    b"SIMPLE  =": "FITS; save it as TIFF",
    b"\x89HDF": "HDF5 (Imaris and MINC files are); save its images one by one",
    b"CDF\1": f"netCDF (old MINC volumes are); {VOLUME}",
    b"CDF\2": f"netCDF (old MINC volumes are); {VOLUME}",
    b"MATLAB": "a MATLAB file; save its images as PNG or TIFF",
    b"\x93NUMPY": "a NumPy array; save it as PNG or TIFF",
    b"ZISRAWFILE": f"Zeiss CZI; {MICROSCOPE}",
    b"\xda\xce\xbe\x0a": f"Nikon ND2; {MICROSCOPE}",
    b"\x70\0\0\0": f"Leica LIF; {MICROSCOPE}",
    b"\xd0\xcf\x11\xe0": "a compound file (Olympus OIB and Zeiss ZVI are); export it as OME-TIFF",
    b"FUJIFILMCCD-RAW": f"a camera's raw file; {RAW}",
    b"AT&TFORM": "DjVu; save its pages as PNG",
    b"\x1aE\xdf\xa3": VIDEO,
    b"\0\0\1\xba": VIDEO,
    b"\0\0\1\xb3": VIDEO,
    b"<": "HTML or XML, perhaps a server's error page; fetch it again",
    b"{": "JSON, perhaps a server's error message; fetch it again",
}
"""First bytes of what is not read, and what to do."""
HEIC_BRANDS = (b"heic", b"heix", b"hevc", b"hevx", b"heim", b"heis", b"mif1", b"msf1")


def kind_of(head: bytes) -> str:
    """Return the name of a format that is read here; empty if a file may be DICOM or a slide.

    >>> kind_of(b"P5 2 2 255 ")
    'PGM'
    """
    if head[:4] == b"RIFF" and head[8:12] == b"WEBP":
        return "WEBP"
    if {b"avif", b"avis"} & set(_brands(head)):
        return "AVIF"
    return next((kind for magic, kind in KINDS.items() if head.startswith(magic)), "")


def why_unread(head: bytes) -> str:
    """Return what a file is that no reader takes, and what to do; empty if it is not known.

    >>> why_unread(b"NRRD0004").partition(";")[0]
    'an NRRD volume'
    """
    if head[344:348] in NIFTI or head[4:8] in NIFTI:
        return f"a NIfTI volume; {VOLUME}"
    if head[:4] in (b"\x5c\1\0\0", b"\0\0\1\x5c") and len(head) >= 348:
        return f"the header of an Analyze or NIfTI volume; {VOLUME}"
    if brands := _brands(head):
        if set(HEIC_BRANDS) & set(brands):
            return "HEIC, as phones write it; export it as JPEG or PNG"
        return f"a camera's raw file; {RAW}" if brands[0] == b"crx " else VIDEO
    if head[:4] == b"RIFF" and head[8:12] == b"AVI ":
        return VIDEO
    text = head.removeprefix(b"\xef\xbb\xbf").lstrip()
    return next(
        (
            said
            for magic, said in UNREAD.items()
            if head.startswith(magic) or text.startswith(magic)
        ),
        "",
    )


def _brands(head: bytes) -> list[bytes]:
    """Return the brands of a file of the family of MP4 and HEIF, the main one first."""
    if head[4:8] != b"ftyp":
        return []
    n_bytes = min(int.from_bytes(head[:4], "big"), len(head))
    return [head[8:12], *(head[at : at + 4] for at in range(16, n_bytes, 4))]
