import json
import shutil
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from medres import models
from medres.models import weights
from tests.models import folders
from tests.models.folders import QWEN, Edit, all_of, cut, gone, renamed, tensors_edit, written

FIRST, SECOND = (f"model-0000{number}-of-00002.safetensors" for number in (1, 2))
HEADER = b'{"a":{"dtype":"F32","shape":[1],"data_offsets":[0,4]}}'


def _whole_too(folder: Path) -> None:
    shutil.copy(folder / "model.safetensors", folder / "kept")
    folders.sharded(folder)
    (folder / "kept").rename(folder / "model.safetensors")


def _of_another_model(folder: Path) -> None:
    folders.sharded(folder)
    index = json.loads((folder / weights.INDEX).read_text())
    index["weight_map"]["model.layers.99.weight"] = SECOND
    (folder / weights.INDEX).write_text(json.dumps(index))


def _add(key: str, dtype: torch.dtype) -> Edit:
    return tensors_edit(lambda each: each.update({key: torch.zeros(2, dtype=dtype)}))


REFUSED: dict[str, tuple[Edit, str]] = {
    "index without shards": (
        all_of(
            gone(weights.WHOLE), written(weights.INDEX, json.dumps({"weight_map": {"x": FIRST}}))
        ),
        f"lacks 1 of 1 shards of its weights, first {FIRST}; fetch",
    ),
    "a shard is gone": (all_of(folders.sharded, gone(SECOND)), f"lacks 1 of 2 .*first {SECOND}"),
    "shards without index": (
        all_of(folders.sharded, gone(weights.INDEX)),
        rf"holds shards \({FIRST}\) without {weights.INDEX}; fetch the index too",
    ),
    "two sets": (_whole_too, f"two sets of weights, {weights.WHOLE} and {FIRST}; remove the one"),
    "two sets, one without index": (
        all_of(_whole_too, gone(weights.INDEX)),
        f"two sets of weights, {weights.WHOLE} and {FIRST}",
    ),
    "two sets, one not whole": (
        all_of(_whole_too, gone(FIRST)),
        f"two sets of weights, {weights.WHOLE} and {SECOND}",
    ),
    "index of another model": (
        _of_another_model,
        f"says that model.layers.99.weight is in {SECOND}",
    ),
    "torn index": (all_of(folders.sharded, cut(weights.INDEX, 9)), f"{weights.INDEX} is damaged"),
    "index without map": (
        all_of(gone(weights.WHOLE), written(weights.INDEX, "{}")),
        f"{weights.INDEX} is damaged",
    ),
    "index that leads elsewhere": (
        all_of(gone(weights.WHOLE), written(weights.INDEX, '{"weight_map": {"x": "../y"}}')),
        f"{weights.INDEX} is damaged",
    ),
    "cut off": (cut(weights.WHOLE, 1), "model.safetensors is cut off after [0-9,]+ bytes; fetch"),
    "cut off in its header": (
        lambda folder: (folder / weights.WHOLE).write_bytes(
            (folder / weights.WHOLE).read_bytes()[:1000]
        ),
        "model.safetensors is cut off after 1,000 bytes",
    ),
    "a shard is cut off": (all_of(folders.sharded, cut(SECOND, 5)), f"{SECOND} is cut off"),
    "empty": (written(weights.WHOLE, b""), "model.safetensors is cut off after 0 bytes"),
    "too long": (
        lambda folder: (folder / weights.WHOLE).open("ab").write(b"more"),
        "is not a sound safetensors file",
    ),
    "no safetensors": (written(weights.WHOLE, b"PK\x03\x04" * 99), "is not a sound safetensors"),
    "a page": (written(weights.WHOLE, "<!doctype html>" * 9), "is not a sound safetensors file"),
    "other name": (
        renamed(weights.WHOLE, "consolidated.safetensors"),
        "holds weights as consolidated.safetensors; rename the file to model.safetensors",
    ),
    "two other names": (
        all_of(renamed(weights.WHOLE, "a.safetensors"), written("b.safetensors", "x")),
        r"several files of weights \(a.safetensors, b.safetensors\) and no",
    ),
    "pickles": (renamed(weights.WHOLE, "pytorch_model.bin"), "only pickled .*convert them"),
    "old pickle": (renamed(weights.WHOLE, "model.pth"), r"only pickled weights \(model.pth\)"),
    "GGUF": (renamed(weights.WHOLE, "q4.gguf"), r"only GGUF weights \(q4.gguf\), which are not"),
    "nothing but a trainer's state": (
        renamed(weights.WHOLE, "training_args.bin"),
        "holds no weights",
    ),
    "GPTQ": (_add("a.qweight", torch.int32), r"quantised weights \(a.qweight\)"),
    "bitsandbytes": (_add("a.weight", torch.uint8), r"quantised weights \(a.weight\)"),
    "8-bit floats": (_add("a.weight", torch.float8_e4m3fn), r"quantised weights \(a.weight\)"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_weights_that_are_not_whole_or_not_readable_are_refused(case: str, tmp_path: Path) -> None:
    edit, message = REFUSED[case]
    folder = folders.copied(QWEN, tmp_path / "edited")
    edit(folder)
    with pytest.raises((ValueError, FileNotFoundError), match=message) as raised:
        models.config_of(str(folder))
    assert "\n" not in str(raised.value)
    assert str(folder) in str(raised.value)


def test_the_files_that_are_read_are_named(tmp_path: Path) -> None:
    folder = folders.copied(QWEN, tmp_path / "whole")
    assert weights.check(folder, "it") == [folder / weights.WHOLE]
    folders.sharded(folder)
    assert weights.check(folder, "it") == [folder / FIRST, folder / SECOND]


def test_a_header_is_what_the_file_says(tmp_path: Path) -> None:
    path = tmp_path / "a.safetensors"
    path.write_bytes(len(HEADER).to_bytes(8, "little") + HEADER + bytes(4))
    assert weights.header(path, "it") == json.loads(HEADER)
    save_file({"a": torch.ones(2, 3), "b": torch.zeros(1, dtype=torch.bfloat16)}, path, {"x": "y"})
    found = weights.header(path, "it")
    assert {key: (each["dtype"], each["shape"]) for key, each in found.items()} == {
        "a": ("F32", [2, 3]),
        "b": ("BF16", [1]),
    }


@pytest.mark.parametrize(
    "raw",
    [
        (2**62).to_bytes(8, "little") + b"{}",
        (2).to_bytes(8, "little") + b"{}",
        (2).to_bytes(8, "little") + b"[]",
        (9).to_bytes(8, "little") + b'{"a": {}}',
        (4).to_bytes(8, "little") + b"\xff\xfe\x00\x00",
        len(HEADER).to_bytes(8, "little") + HEADER.replace(b"4]", b"-1]"),
        b"abc",
    ],
)
def test_any_bytes_are_refused_in_one_line(raw: bytes, tmp_path: Path) -> None:
    path = tmp_path / "a.safetensors"
    path.write_bytes(raw)
    with pytest.raises(ValueError, match=r"^it (is cut off|is not a sound)"):
        weights.header(path, "it")
