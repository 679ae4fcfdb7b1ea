#!/usr/bin/env bash
# 1. Seen with pyvips 3.2.0 (pyvips-binary 8.18.7), numpy 2.4.6, Python 3.11.
# 2. A grey 16-bit array handed to pyvips.Image.new_from_array and saved as PNG becomes an 8-bit file in which every value above 255 is 255.
#    The very same image saved as JPEG holds the high byte of every value, saved as TIFF the 16 bits; a three-channel 16-bit array keeps its
#    16 bits in PNG too. Nothing is warned of. With interpretation="grey16" the PNG is right.
# 3. One would expect a 16-bit PNG (the format has it), or the same reduction to 8 bits in PNG and in JPEG.
# 4. A radiograph or a fluorescence channel of 12 or 16 bits, exported from numpy for training: nearly every pixel is white.
# 5. Seen on 2026-11-28:
#      stored       [100, 1000, 5000, 60000]
#      grey png     uint8 [100, 255, 255, 255]
#      grey tif     uint16 [100, 1000, 5000, 60000]
#      grey jpg     near [0, 3, 19, 234]: True
#      colour png   uint16 [100, 1000, 5000, 60000]
#      grey16 png   uint16 [100, 1000, 5000, 60000]
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet pyvips==3.2.0 pyvips-binary==8.18.7 numpy==2.4.6
cd "$folder"
"$folder/venv/bin/python" - <<'PYTHON'
import numpy as np
import pyvips

values = [100, 1000, 5000, 60000]
grey = np.repeat(np.array([values], dtype=np.uint16), 16, axis=0).repeat(16, axis=1)  # blocks of 16 x 16, kind to JPEG


def saved(name, array, **options):
    pyvips.Image.new_from_array(array, **options).write_to_file(name)
    read = pyvips.Image.new_from_file(name).numpy()
    return str(read.dtype), [int(np.atleast_1d(read[8, 16 * block + 8])[0]) for block in range(4)]


png = saved("grey.png", grey)
tif = saved("grey.tif", grey)
jpg = saved("grey.jpg", grey)
colour = saved("colour.png", np.dstack([grey] * 3))
named = saved("grey16.png", grey, interpretation="grey16")
high_bytes = [value >> 8 for value in values]
near = all(abs(seen - high) <= 3 for seen, high in zip(jpg[1], high_bytes))
print("stored      ", values)
print("grey png    ", *png)
print("grey tif    ", *tif)
print(f"grey jpg     near {high_bytes}: {near}")
print("colour png  ", *colour)
print("grey16 png  ", *named)
assert png == ("uint8", [100, 255, 255, 255])
assert tif == colour == named == ("uint16", values)
assert jpg[0] == "uint8" and near
PYTHON
