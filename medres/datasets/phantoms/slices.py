"""Axial CT and MR slices of head, chest and abdomen.

Seen from the feet, as radiologists do: what is on the patient's left is on the right of the
image. Coarse findings (a haemorrhage, wide ventricles, a large liver) are some tenths of the
body wide, fine ones (calcifications, stones, nodules) two to four pixels.
"""

from collections.abc import Collection

import numpy as np
from scipy import ndimage

from medres.datasets.phantoms import optics, stains
from medres.datasets.phantoms.optics import Floats, Pixels

TISSUES = ("air", "scalp", "bone", "csf", "grey", "white", "bleed", "tumour", "spot")
# Hounsfield units, and the signal of both weightings as a share of the brightest tissue.
HEAD = {
    "ct": (-1000.0, -20.0, 900.0, 4.0, 39.0, 28.0, 72.0, 14.0, 120.0),
    "t1": (0.0, 0.9, 0.06, 0.12, 0.42, 0.62, 0.8, 0.26, 0.2),
    "t2": (0.0, 0.7, 0.06, 1.0, 0.6, 0.42, 0.15, 0.9, 0.95),
}
BRAIN_WINDOW = (0.0, 80.0)
ABDOMEN_WINDOW = (-160.0, 240.0)
CHEST_WINDOW = (-1000.0, 400.0)


class _Canvas:
    """A slice in the making: coordinates from -1 to 1 and values painted one over another."""

    def __init__(self, shape: tuple[int, int], value: float) -> None:
        height, width = shape
        self.shape = shape
        self.v = np.linspace(-1, 1, height, dtype=np.float32)[:, None]
        self.u = np.linspace(-1, 1, width, dtype=np.float32)[None, :]
        self.values = np.full(shape, value, dtype=np.float32)
        self.pixel = 2 / min(shape)

    def ellipse(
        self, u: float, v: float, half_width: float, half_height: float, tilt: float = 0.0
    ) -> Floats:
        """Return the share of each pixel inside an ellipse; a positive tilt turns clockwise."""
        across, down = self.u - u, self.v - v
        first = (across * np.cos(tilt) + down * np.sin(tilt)) / half_width
        second = (down * np.cos(tilt) - across * np.sin(tilt)) / half_height
        size = min(half_width, half_height) / self.pixel
        return optics.inside((1 - np.hypot(first, second)) * size)

    def dots(
        self, weights: Floats, count: int, radius_px: float, rng: np.random.Generator
    ) -> Floats:
        """Return round spots of about one radius at places drawn by the weights."""
        rows, columns = np.indices(self.shape, dtype=np.float32)
        spots = np.zeros(self.shape, dtype=np.float32)
        for row, column in optics.sample(weights, count, rng):
            radius = radius_px * rng.uniform(0.85, 1.15)
            spots = np.maximum(
                spots, optics.inside(radius - np.hypot(rows - row, columns - column))
            )
        return spots

    def paint(self, mask: Floats, value: Floats | float) -> None:
        self.values += mask * (value - self.values)


def head(
    shape: tuple[int, int],
    contrast: str,
    present: Collection[str],
    side: int,
    rng: np.random.Generator,
) -> Floats:
    """Return an axial slice through the ventricles.

    Args:
        shape: Height and width.
        contrast: ct, t1 or t2.
        present: Of bleed, tumour, ventricles (wide), spots.
        side: -1 for what is on the left of the image, 1 for its right.
        rng: Of anatomy and findings.
    """
    tissue = dict(zip(TISSUES, HEAD[contrast], strict=True))
    canvas = _Canvas(shape, tissue["air"])
    half_width, half_height = rng.uniform(0.7, 0.8), rng.uniform(0.84, 0.94)
    canvas.paint(canvas.ellipse(0, 0, half_width, half_height), tissue["scalp"])
    skull_width, skull_height = half_width - 0.06, half_height - 0.06
    skull = canvas.ellipse(0, 0, skull_width, skull_height)
    canvas.paint(skull, tissue["bone"])
    brain_width, brain_height = skull_width - 0.09, skull_height - 0.09
    brain = canvas.ellipse(0, 0, brain_width, brain_height)
    canvas.paint(brain, tissue["csf"])
    canvas.paint(canvas.ellipse(0, 0, brain_width - 0.02, brain_height - 0.02), tissue["grey"])
    folds = stains.clouds(shape, 0.1 / canvas.pixel, rng)
    core = canvas.ellipse(0, 0, brain_width - 0.14, brain_height - 0.14)
    inner = optics.edge(
        1 - np.hypot(canvas.u / brain_width, canvas.v / brain_height) - 0.2 + 0.07 * folds, 0.04
    )
    canvas.paint(inner, tissue["white"])
    sulci = np.exp(-((folds / 0.22) ** 2)) * (1 - core) * brain
    canvas.paint(0.7 * sulci, tissue["csf"])
    falx = np.exp(-((canvas.u / 0.015) ** 2)) * (np.abs(canvas.v) > 0.35)
    canvas.paint(falx * brain, tissue["csf"])
    for half in (-1, 1):
        canvas.paint(canvas.ellipse(0.24 * half, 0.05, 0.09, 0.16, -0.4 * half), tissue["grey"])
    wide = rng.uniform(2.7, 3.3) if "ventricles" in present else rng.uniform(0.8, 1.1)
    for half in (-1, 1):
        horn = canvas.ellipse(0.1 * half * np.sqrt(wide), -0.22, 0.055 * wide, 0.17, -0.35 * half)
        back = canvas.ellipse(0.17 * half * np.sqrt(wide), 0.33, 0.05 * wide, 0.16, 0.4 * half)
        canvas.paint(np.maximum(horn, back), tissue["csf"])
    for name in ("bleed", "tumour"):
        if name in present:
            u, v = side * rng.uniform(0.3, 0.36), rng.uniform(-0.2, 0.25)
            radius, flat = rng.uniform(0.2, 0.26), rng.uniform(0.85, 1.15)
            lump = canvas.ellipse(u, v, radius * flat, radius / flat, rng.uniform(-1, 1))
            canvas.paint(lump * brain, tissue[name])
            if name == "tumour":
                canvas.paint(canvas.ellipse(u, v, 0.07, 0.07), tissue["csf"])
    if "spots" in present:
        canvas.paint(canvas.dots(core, int(rng.integers(16, 24)), 1.5, rng), tissue["spot"])
    return canvas.values


def abdomen(
    shape: tuple[int, int], present: Collection[str], side: int, rng: np.random.Generator
) -> Floats:
    """Return an axial slice through liver and kidneys, in Hounsfield units.

    Args:
        shape: Height and width.
        present: Of liver (large), tumour (of the liver), mass (of a kidney), stones.
        side: -1 for what is on the left of the image, 1 for its right.
        rng: Of anatomy and findings.
    """
    canvas = _Canvas(shape, -1000.0)
    half_width, half_height = rng.uniform(0.86, 0.95), rng.uniform(0.68, 0.8)
    canvas.paint(canvas.ellipse(0, 0, half_width, half_height), -100.0)
    wall = rng.uniform(0.06, 0.14)
    canvas.paint(canvas.ellipse(0, 0, half_width - wall, half_height - wall), 55.0)
    cavity = canvas.ellipse(0, -0.03, half_width - wall - 0.07, half_height - wall - 0.08)
    canvas.paint(cavity, -95.0)
    for _ in range(9):
        u, v = rng.uniform(-0.3, 0.5), rng.uniform(-0.42, 0.15)
        radius = rng.uniform(0.06, 0.1)
        canvas.paint(canvas.ellipse(u, v, radius, radius) * cavity, 70.0)
        canvas.paint(canvas.ellipse(u, v, radius - 0.03, radius - 0.03) * cavity, 15.0)
    canvas.paint(canvas.ellipse(0.3, -0.3, 0.2, 0.13, 0.5) * cavity, 60.0)
    canvas.paint(canvas.ellipse(0.3, -0.27, 0.17, 0.1, 0.5) * cavity, 20.0)
    canvas.paint(canvas.ellipse(0.3, -0.33, 0.13, 0.05) * cavity, -900.0)
    large = rng.uniform(0.1, 0.16) if "liver" in present else rng.uniform(-0.03, 0.02)
    liver = canvas.ellipse(
        -0.42 + 0.6 * large, -0.1 + 0.3 * large, 0.34 + large, 0.38 + large, 0.25
    )
    left_lobe = canvas.ellipse(-0.1 + large, -0.32, 0.26 + large, 0.16 + 0.3 * large, 0.2)
    liver = np.maximum(liver, left_lobe) * cavity
    canvas.paint(liver, 105.0)
    vessels = canvas.dots(liver + 1e-9, 6, 1.4, rng) * liver
    canvas.paint(vessels, 150.0)
    canvas.paint(canvas.ellipse(0.62, 0.08, 0.13, 0.24, -0.4) * cavity, 115.0)
    kidneys = np.zeros(shape, dtype=np.float32)
    for half in (-1, 1):
        v = 0.27 + 0.02 * rng.normal()
        kidney = canvas.ellipse(0.37 * half, v, 0.13, 0.17, 0.4 * half)
        canvas.paint(canvas.ellipse(0.37 * half, v, 0.19, 0.22, 0.4 * half) * cavity, -95.0)
        canvas.paint(kidney, 165.0)
        canvas.paint(canvas.ellipse(0.33 * half, v, 0.05, 0.09, 0.4 * half), -40.0)
        kidneys = np.maximum(kidneys, kidney)
        if "mass" in present and half == side:
            mass = canvas.ellipse(0.45 * half, v - 0.08, 0.22, 0.22)
            canvas.paint(mass * cavity, 190.0)
            canvas.paint(canvas.ellipse(0.45 * half, v - 0.08, 0.07, 0.07), 20.0)
    canvas.paint(canvas.ellipse(0, 0.45, 0.15, 0.12), 230.0)
    canvas.paint(canvas.ellipse(0, 0.61, 0.05, 0.09), 230.0)
    canvas.paint(canvas.ellipse(0, 0.58, 0.045, 0.045), 25.0)
    canvas.paint(canvas.ellipse(0.03, 0.27, 0.06, 0.06), 170.0)
    canvas.paint(canvas.ellipse(-0.1, 0.25, 0.07, 0.05), 150.0)
    if "tumour" in present:
        u, v = rng.uniform(-0.5, -0.38), rng.uniform(-0.15, 0.0)
        canvas.paint(canvas.ellipse(u, v, 0.22, 0.22) * liver, 30.0)
        canvas.paint(canvas.ellipse(u, v, 0.1, 0.1) * liver, -10.0)
    if "stones" in present:
        canvas.paint(canvas.dots(kidneys**4 + 1e-9, int(rng.integers(9, 14)), 1.5, rng), 600.0)
    return canvas.values


def chest(
    shape: tuple[int, int], present: Collection[str], side: int, rng: np.random.Generator
) -> Floats:
    """Return an axial slice through heart and lungs, in Hounsfield units.

    Args:
        shape: Height and width.
        present: Of heart (large), fluid (behind one lung), nodules.
        side: -1 for what is on the left of the image, 1 for its right.
        rng: Of anatomy and findings.
    """
    canvas = _Canvas(shape, -1000.0)
    half_width, half_height = rng.uniform(0.88, 0.95), rng.uniform(0.66, 0.76)
    canvas.paint(canvas.ellipse(0, 0, half_width, half_height), -100.0)
    canvas.paint(canvas.ellipse(0, 0, half_width - 0.08, half_height - 0.08), 50.0)
    angle = np.arctan2(canvas.v, canvas.u)
    ring = canvas.ellipse(0, 0, half_width - 0.12, half_height - 0.12)
    ring = ring * (1 - canvas.ellipse(0, 0, half_width - 0.16, half_height - 0.16))
    canvas.paint(ring * optics.edge(np.cos(9 * angle + rng.uniform(0, 6)), 0.3), 350.0)
    lungs = np.zeros(shape, dtype=np.float32)
    for half in (-1, 1):
        lung = canvas.ellipse(0.43 * half, 0.0, 0.32, half_height - 0.18, 0.12 * half)
        lungs = np.maximum(lungs, lung)
    canvas.paint(lungs, -850.0)
    roots = np.array([[0.5, 0.36], [0.5, 0.64]]) * shape
    starts, angles = np.repeat(roots, 18, axis=0), rng.uniform(0, 2 * np.pi, 36)
    vessels = optics.walk(starts, angles, shape[1] // 3, bend=0.08, rng=rng)
    soft = ndimage.gaussian_filter(optics.splat(vessels, shape), 0.8, truncate=3)
    canvas.paint(np.clip(0.35 * soft, 0, 0.8) * lungs, 30.0)
    large = rng.uniform(1.4, 1.6) if "heart" in present else rng.uniform(0.9, 1.05)
    canvas.paint(canvas.ellipse(0, -0.1, 0.15, half_height - 0.25), 40.0)
    canvas.paint(canvas.ellipse(0.1, -0.12, 0.27 * large, 0.22 * large, 0.5), 120.0)
    canvas.paint(canvas.ellipse(0.12, 0.3, 0.07, 0.07), 150.0)
    canvas.paint(canvas.ellipse(-0.03, 0.13, 0.05, 0.04), -950.0)
    canvas.paint(canvas.ellipse(0, 0.42, 0.13, 0.1), 300.0)
    canvas.paint(canvas.ellipse(0, 0.53, 0.045, 0.045), 30.0)
    if "fluid" in present:
        level = rng.uniform(0.12, 0.25)
        behind = optics.edge(canvas.v - level, 0.03) * (side * canvas.u > 0) * lungs
        canvas.paint(behind, 15.0)
    if "nodules" in present:
        canvas.paint(canvas.dots(lungs**4 + 1e-9, int(rng.integers(9, 14)), 1.9, rng), 60.0)
    return canvas.values


def tomograph(
    hounsfield: Floats, window: tuple[float, float], noise: float, rng: np.random.Generator
) -> Pixels:
    """Return a computed tomography as it is shown: blur, noise of back-projection, window.

    Args:
        hounsfield: The slice.
        window: Values shown as black and as white.
        noise: Deviation in Hounsfield units.
        rng: Draws the noise.
    """
    sharp = ndimage.gaussian_filter(hounsfield, rng.uniform(0.5, 0.65), truncate=3)
    grain = rng.standard_normal(hounsfield.shape, dtype=np.float32)
    # Filtered back-projection leaves few coarse waves in the noise.
    grain -= ndimage.gaussian_filter(grain, 1.5, truncate=3)
    low, high = window
    return _show(np.clip((sharp + noise * grain - low) / (high - low), 0, 1), rng)


def resonance(signal: Floats, rng: np.random.Generator) -> Pixels:
    """Return a magnetic resonance image: coil's sensitivity, blur, Rician noise."""
    coil = 1 + 0.08 * stains.clouds((signal.shape[0], signal.shape[1]), 80, rng)
    sharp = ndimage.gaussian_filter(signal * coil, rng.uniform(0.5, 0.65), truncate=3)
    first, second = 0.025 * rng.standard_normal((2, *signal.shape), dtype=np.float32)
    return _show(np.hypot(sharp + first, second), rng)


def _show(values: Floats, rng: np.random.Generator) -> Pixels:
    """Return grey levels whose mean is drawn, so that it tells neither organ nor finding."""
    return np.asarray(
        np.clip(values * (rng.uniform(38, 50) / values.mean()), 0, 255), dtype=np.uint8
    )
