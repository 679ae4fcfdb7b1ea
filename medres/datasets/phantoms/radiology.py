"""Radiographs, CT and MR images, with questions like those of VQA-RAD and SLAKE.

Left and right are the patient's: the patient's left is on the right of the image.
"""

import math
from collections.abc import Iterator

import numpy as np

from medres.datasets.phantoms import radiographs, slices
from medres.datasets.phantoms.optics import Asked, Drawing, Pixels

IMAGES_PER_GROUP = 1
"""Both real sets are split by image."""
_YES_NO = ("yes", "no")
_SIDES = {-1: "right", 1: "left"}
_MODALITIES = {
    "x-ray": "radiograph",
    "ct": "computed tomography",
    "mri": "magnetic resonance",
}

_VQA_RAD = {
    "chest": {
        "heart": "is the heart enlarged?",
        "fluid": "is there pleural fluid?",
        "nodules": "are there lung nodules?",
    },
    "abdomen": {
        "liver": "is the liver enlarged?",
        "mass": "is there a kidney mass?",
        "stones": "are there kidney stones?",
    },
    "head": {
        "ventricles": "are the ventricles enlarged?",
        "bleed": "is there a bleed?",
        "spots": "are there calcifications?",
    },
}
_VQA_RAD_SHARES = (0.39, 0.35, 0.26)
_LATERAL = {"chest": "fluid", "abdomen": "mass", "head": "bleed"}
# Modality, plane and organ, in the order of the open questions.
_VQA_RAD_ANSWERS = {
    "chest": ("x-ray", "frontal", "lungs"),
    "abdomen": ("ct", "axial", "liver"),
    "head": ("ct", "axial", "brain"),
}
_VQA_RAD_GENERAL = {
    "ct": "is this a ct?",
    "axial": "is this an axial plane?",
    "brain": "is this the brain?",
}
_VQA_RAD_OPEN = ("what is the modality?", "what is the plane?", "what organ is shown?")


def draw_vqa_rad(index: int, rng: np.random.Generator) -> Iterator[Drawing]:
    """Yield a chest radiograph or a tomography of abdomen or head."""
    kind = str(rng.choice(list(_VQA_RAD), p=_VQA_RAD_SHARES))
    area_px, aspect = rng.uniform(18_000, 27_000), rng.uniform(0.9, 1.15)
    if kind == "abdomen":
        aspect *= 1.15
    elif kind == "head":
        aspect *= 0.9
    shape = (round(math.sqrt(area_px / aspect)), round(math.sqrt(area_px * aspect)))
    found = {finding: bool(rng.integers(2)) for finding in _VQA_RAD[kind]}
    side = int(rng.choice([-1, 1]))
    asked = [
        Asked(_VQA_RAD[kind][finding], "yes" if there else "no", _YES_NO)
        for finding, there in found.items()
    ]
    named = str(rng.choice(list(_VQA_RAD_GENERAL)))
    is_named = named in _VQA_RAD_ANSWERS[kind]
    asked.append(Asked(_VQA_RAD_GENERAL[named], "yes" if is_named else "no", _YES_NO))
    for position in np.sort(rng.permutation(3)[:2]):
        asked.append(Asked(_VQA_RAD_OPEN[position], _VQA_RAD_ANSWERS[kind][position]))
    if found[_LATERAL[kind]]:
        asked.append(Asked("on which side is it abnormal?", _SIDES[side]))
    found["miliary"] = False
    modality = _VQA_RAD_ANSWERS[kind][0]
    pixels = _picture(kind, modality, shape, found, side, rng)
    yield Drawing(pixels, _MODALITIES[modality], tuple(asked))


_SLAKE_KINDS = ("chest x-ray", "abdomen ct", "head mri", "chest ct")
_SLAKE_SHARES = (0.32, 0.32, 0.25, 0.11)
_ORGANS = {
    "chest": ("lung", "heart"),
    "abdomen": ("liver", "kidney", "spleen"),
    "head": ("brain",),
}
"""The main one first."""
_FUNCTIONS = {"chest": "breathe", "abdomen": "digest", "head": "think"}
_DISEASES = {
    "chest": {
        "heart": ("cardiomegaly", "heart"),
        "fluid": ("effusion", "{side} lung"),
        "nodules": ("nodules", "both lungs"),
    },
    "abdomen": {
        "tumour": ("liver cancer", "liver"),
        "mass": ("kidney cancer", "{side} kidney"),
        "stones": ("kidney stones", "both kidneys"),
    },
    "head": {
        "tumour": ("brain cancer", "{side} brain"),
        "bleed": ("bleeding", "{side} brain"),
        "spots": ("sclerosis", "whole brain"),
    },
}
"""Name and place of each."""


def draw_slake(index: int, rng: np.random.Generator) -> Iterator[Drawing]:
    """Yield a radiograph, tomography or resonance image, healthy or with one disease."""
    kind = str(rng.choice(_SLAKE_KINDS, p=_SLAKE_SHARES))
    part, modality = kind.split()
    disease = str(rng.choice(["none", *_DISEASES[part]], p=[0.34, 0.22, 0.22, 0.22]))
    side = int(rng.choice([-1, 1]))
    contrast = str(rng.choice(["t1", "t2"])) if modality == "mri" else modality
    asked = _ask_slake(part, modality, contrast, disease, side, rng)
    if modality == "x-ray":
        shape = (int(rng.integers(150, 169)), 168)
    else:
        shape = (int(rng.integers(112, 127)),) * 2
    found = {name: name == disease for name in (*_DISEASES[part], "miliary")}
    pixels = _picture(part, contrast, shape, found, side, rng)
    yield Drawing(pixels, _MODALITIES[modality], tuple(asked))


def _ask_slake(
    part: str, modality: str, contrast: str, disease: str, side: int, rng: np.random.Generator
) -> list[Asked]:
    """Return modality, disease and place, some general questions, and two or three closed ones."""
    organs = _ORGANS[part]
    name, place = _DISEASES[part].get(disease, ("none", ""))
    general = (
        Asked("which part of the body is this?", part),
        Asked("what is the plane?", "coronal" if modality == "x-ray" else "transverse"),
        Asked("what is the largest organ?", organs[0]),
        Asked("what does this organ do?", _FUNCTIONS[part]),
    )
    asked = [Asked("what modality is used?", modality)]
    asked += [general[each] for each in np.sort(rng.permutation(len(general))[:2])]
    asked.append(Asked("what disease is shown?", name))
    if place:
        asked.append(Asked("where is the abnormality?", place.format(side=_SIDES[side])))
    others = [organ for there in _ORGANS.values() for organ in there if organ not in organs]
    contained = [("yes", str(rng.choice(organs))), ("no", str(rng.choice(others)))]
    is_shown = int(rng.integers(2))
    for answer, organ in contained[is_shown:] + contained[:is_shown][: int(rng.integers(2))]:
        asked.append(Asked(f"does the picture contain the {organ}?", answer, _YES_NO))
    is_healthy = disease == "none" or disease in ("heart", "mass", "stones")
    asked.append(Asked(f"is the {organs[0]} healthy?", "yes" if is_healthy else "no", _YES_NO))
    if part == "chest" and disease != "none":
        culprit = "heart" if disease == "heart" else "lung"
        asked.append(Asked("which organ is abnormal?", culprit, ("heart", "lung")))
    if modality == "mri":
        asked.append(Asked("which weighting is this?", contrast, ("t1", "t2")))
    return asked


def _picture(
    part: str,
    contrast: str,
    shape: tuple[int, int],
    found: dict[str, bool],
    side: int,
    rng: np.random.Generator,
) -> Pixels:
    """Return the image of a part of the body; the contrast is x-ray, ct, t1 or t2."""
    present = [finding for finding, there in found.items() if there]
    if contrast == "x-ray":
        chest = radiographs.thorax(shape, found, rng, rng, fluid_side=side)
        return radiographs.expose(chest, rng, contrast=1.5)
    if part == "abdomen":
        slice_ = slices.abdomen(shape, present, side, rng)
        return slices.tomograph(slice_, slices.ABDOMEN_WINDOW, 20.0, rng)
    if part == "chest":
        slice_ = slices.chest(shape, present, side, rng)
        return slices.tomograph(slice_, slices.CHEST_WINDOW, 30.0, rng)
    if contrast == "ct":
        slice_ = slices.head(shape, contrast, present, side, rng)
        return slices.tomograph(slice_, slices.BRAIN_WINDOW, 6.0, rng)
    return slices.resonance(slices.head(shape, contrast, present, side, rng), rng)
