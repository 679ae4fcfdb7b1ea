"""Folders as people have them: each is read right, or refused with the remedy in one line."""

import ast
import json
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from medres import models
from medres.models import checkpoint, offline, without_weights
from tests.conftest import REPOSITORY
from tests.models import folders
from tests.models.folders import (
    INTERNVL,
    LLAVA,
    QWEN,
    Edit,
    all_of,
    cut,
    gone,
    json_edit,
    read,
    renamed,
    tensors_edit,
    written,
)

INDEX = "model.safetensors.index.json"
STALE = json.dumps({"weight_map": {"x": "model-00001-of-00002.safetensors"}})


def _flat(folder: Path) -> None:
    """Qwen2-VL's config as on the Hub: the language model's entries at the top."""
    content = read(folder / "config.json")
    text = content.pop("text_config")
    rope = text.pop("rope_parameters")
    for name in ("model_type", "architectures", "layer_types", "pad_token_id"):
        text.pop(name, None)
    content = text | content
    content |= {
        "rope_scaling": {"type": "mrope", "mrope_section": rope["mrope_section"]},
        "rope_theta": rope["rope_theta"],
    }
    (folder / "config.json").write_text(json.dumps(content))


def _nested(folder: Path) -> None:
    """The image processor's settings in processor_config.json alone."""
    settings = read(folder / "preprocessor_config.json")
    (folder / "preprocessor_config.json").unlink()
    json_edit("processor_config.json", image_processor=settings)(folder)


def _template_to(file: str) -> Edit:
    def edit(folder: Path) -> None:
        template = (folder / "chat_template.jinja").read_text()
        (folder / "chat_template.jinja").unlink()
        json_edit(file, chat_template=template)(folder)

    return edit


def _template_list(folder: Path) -> None:
    template = (folder / "chat_template.jinja").read_text()
    (folder / "chat_template.jinja").unlink()
    both = [{"name": "tool_use", "template": "{{ 1 }}"}, {"name": "default", "template": template}]
    json_edit("tokenizer_config.json", chat_template=both)(folder)


def _type(name: str) -> Edit:
    return json_edit("preprocessor_config.json", image_processor_type=name)


TEXT_ONLY = (
    "{% for m in messages %}<|im_start|>{{m['role']}}\n{{m['content']}}<|im_end|>\n{% endfor %}"
    "<|im_start|>assistant\n"
)
WITHOUT_SYSTEM = (
    "<|im_start|>user\n<|vision_start|><|image_pad|><|vision_end|>"
    "{{ messages[-1].content[-1].text }}<|im_end|>\n<|im_start|>assistant\n"
)

RIGHT: dict[str, tuple[str, Edit]] = {
    "stale index": (QWEN, written(INDEX, STALE)),
    "index of the whole file": (
        QWEN,
        written(INDEX, '{"weight_map": {"x": "model.safetensors"}}'),
    ),
    "shards": (QWEN, folders.sharded),
    "shards of llava": (LLAVA, folders.sharded),
    "pickle beside safetensors": (QWEN, written("pytorch_model.bin", "x")),
    "flat config": (QWEN, _flat),
    "torch_dtype": (QWEN, json_edit("config.json", "dtype", torch_dtype="bfloat16")),
    "dtype": (INTERNVL, json_edit("config.json", dtype="float16")),
    "attention of a kernel": (
        QWEN,
        json_edit("config.json", attn_implementation="someone/kernel"),
    ),
    "flash attention": (LLAVA, json_edit("config.json", _attn_implementation="flash_attention_2")),
    "quantization_config null": (QWEN, json_edit("config.json", quantization_config=None)),
    "processor_config alone": (QWEN, _nested),
    "processor_config alone, internvl": (INTERNVL, _nested),
    "processor_config without settings": (
        QWEN,
        json_edit("processor_config.json", processor_class="Qwen2VLProcessor"),
    ),
    "old min_pixels": (
        QWEN,
        json_edit("preprocessor_config.json", "size", min_pixels=3136, max_pixels=12845056),
    ),
    "old min_pixels in size": (
        QWEN,
        json_edit("preprocessor_config.json", size={"min_pixels": 3136, "max_pixels": 12845056}),
    ),
    "fast qwen": (QWEN, _type("Qwen2VLImageProcessorFast")),
    "fast internvl": (INTERNVL, _type("GotOcr2ImageProcessorFast")),
    "fast llava": (LLAVA, _type("LlavaOnevisionImageProcessorFast")),
    "pil": (LLAVA, _type("LlavaOnevisionImageProcessorPil")),
    "template as json": (QWEN, _template_to("chat_template.json")),
    "template of the tokenizer": (INTERNVL, _template_to("tokenizer_config.json")),
    "template of the processor": (LLAVA, _template_to("processor_config.json")),
    "list of templates": (QWEN, _template_list),
    "text template of the tokenizer beside it": (
        QWEN,
        all_of(
            _template_to("chat_template.json"),
            json_edit("tokenizer_config.json", chat_template=TEXT_ONLY),
        ),
    ),
    "no generation config": (QWEN, gone("generation_config.json")),
    "strange generation config": (
        QWEN,
        json_edit("generation_config.json", do_sample=True, temperature=-1.0, num_beams=0),
    ),
    "torn generation config": (QWEN, written("generation_config.json", "{")),
    "code of generation": (QWEN, json_edit("generation_config.json", custom_generate="someone/it")),
    "tied weights stored": (
        QWEN,
        tensors_edit(
            lambda each: each.update({"lm_head.weight": each["model.embed_tokens.weight"].clone()})
        ),
    ),
}

REFUSED: dict[str, tuple[str, Edit, str]] = {
    "not JSON": (QWEN, written("config.json", "<html>"), r"config.json is not valid JSON"),
    "a list": (QWEN, written("config.json", "[]"), "config.json holds no JSON object"),
    "LFS pointer of a file": (
        QWEN,
        written("tokenizer_config.json", "version https://git-lfs.example/spec/v1"),
        "tokenizer_config.json is a pointer of Git LFS, not the file; run git lfs pull",
    ),
    "LFS pointer": (
        QWEN,
        written("model.safetensors", "version https://git-lfs.example/spec/v1\noid sha256:1"),
        "model.safetensors is a pointer of Git LFS, not the weights; run git lfs pull",
    ),
    "config of another size": (
        QWEN,
        lambda folder: json_edit(
            "config.json",
            text_config=read(folder / "config.json")["text_config"] | {"intermediate_size": 64},
        )(folder),
        "its config and weights cannot be read",
    ),
    "flat config without rope": (
        QWEN,
        all_of(_flat, json_edit("config.json", "rope_scaling")),
        "mrope_section .*, which does not fill heads of 32",
    ),
    "untied without lm_head": (
        QWEN,
        lambda folder: json_edit(
            "config.json",
            tie_word_embeddings=False,
            text_config=read(folder / "config.json")["text_config"]
            | {"tie_word_embeddings": False},
        )(folder),
        r"the weights lack \['lm_head.weight'\]",
    ),
    "GPTQ": (
        QWEN,
        json_edit("config.json", quantization_config={"quant_method": "gptq", "bits": 4}),
        r"is quantised \(gptq, 4 bits\)",
    ),
    "AWQ": (
        LLAVA,
        json_edit("config.json", quantization_config={"quant_method": "awq", "bits": 4}),
        r"is quantised \(awq, 4 bits\)",
    ),
    "bitsandbytes": (
        INTERNVL,
        json_edit(
            "config.json",
            quantization_config={"quant_method": "bitsandbytes", "load_in_4bit": True},
        ),
        r"is quantised \(bitsandbytes, 4 bits\)",
    ),
    "quantised language model": (
        INTERNVL,
        lambda folder: json_edit(
            "config.json",
            text_config=read(folder / "config.json")["text_config"]
            | {"quantization_config": {"quant_method": "fp8"}},
        )(folder),
        r"is quantised \(fp8\)",
    ),
    "names its weights": (
        QWEN,
        json_edit("config.json", transformers_weights="other.safetensors"),
        "has transformers_weights, which is not read",
    ),
    "no tokenizer": (
        QWEN,
        gone("tokenizer.json"),
        r"has no tokenizer; copy tokenizer.json and tokenizer_config.json",
    ),
    "torn tokenizer": (QWEN, cut("tokenizer.json", 900), "its tokenizer cannot be read"),
    "no image processor": (
        INTERNVL,
        gone("preprocessor_config.json"),
        "has no image processor; copy preprocessor_config.json",
    ),
    "no image_mean": (
        QWEN,
        json_edit("preprocessor_config.json", "image_mean"),
        "preprocessor_config.json has image_mean None, not three numbers",
    ),
    "no image_std": (
        LLAVA,
        json_edit("preprocessor_config.json", "image_std"),
        "preprocessor_config.json has image_std None",
    ),
    "nested without image_mean": (
        INTERNVL,
        all_of(json_edit("preprocessor_config.json", "image_mean"), _nested),
        "processor_config.json has image_mean None",
    ),
    "one grey mean": (
        QWEN,
        json_edit("preprocessor_config.json", image_mean=[0.5]),
        r"has image_mean \[0.5\], not three numbers",
    ),
    "not normalised": (
        QWEN,
        json_edit("preprocessor_config.json", do_normalize=False),
        "they belong to different models",
    ),
    "other patches": (
        QWEN,
        json_edit("preprocessor_config.json", patch_size=16),
        r"patches of \(16, 2, 2\).*the config says \(14, 2, 2\)",
    ),
    "image processor of another family": (
        QWEN,
        _type("CLIPImageProcessor"),
        "its image processor is a CLIPImageProcessor.*belongs to another model",
    ),
    "no template": (QWEN, gone("chat_template.jinja"), "has no chat template, neither as"),
    "text template": (
        QWEN,
        written("chat_template.jinja", TEXT_ONLY),
        "its chat template does not write .* of the model with images",
    ),
    "template without system prompt": (
        QWEN,
        written("chat_template.jinja", WITHOUT_SYSTEM),
        "does not write the system prompt",
    ),
    "broken template": (
        LLAVA,
        written("chat_template.jinja", "{% for"),
        "its chat template cannot be read",
    ),
    "list of templates without default": (
        QWEN,
        all_of(
            gone("chat_template.jinja"),
            json_edit(
                "tokenizer_config.json",
                chat_template=[{"name": "tool_use", "template": "{{ 1 }}"}],
            ),
        ),
        "its chat template cannot be read",
    ),
    "no end of turn": (
        QWEN,
        lambda folder: [
            path.write_text(path.read_text().replace("<|im_end|>", "<|finis|>"))
            for path in folder.glob("*.json")
        ],
        r"has no token <\|im_end\|>",
    ),
}


@pytest.fixture(scope="module")
def expected() -> dict[str, np.ndarray]:
    return {}


@pytest.mark.parametrize("case", RIGHT)
def test_what_is_unusual_but_plain_is_read_right(
    case: str, tmp_path: Path, expected: dict[str, np.ndarray]
) -> None:
    name, edit = RIGHT[case]
    if name not in expected:
        expected[name] = folders.says(models.load(str(folders.copied(name, tmp_path / "plain"))))
    folder = folders.copied(name, tmp_path / "edited")
    edit(folder)
    np.testing.assert_array_equal(folders.says(models.load(str(folder))), expected[name])


@pytest.mark.parametrize("case", REFUSED)
def test_what_cannot_be_read_right_is_refused_with_the_remedy(case: str, tmp_path: Path) -> None:
    name, edit, message = REFUSED[case]
    folder = folders.copied(name, tmp_path / "edited")
    edit(folder)
    with pytest.raises((ValueError, FileNotFoundError), match=message) as raised:
        models.load(str(folder))
    assert "\n" not in str(raised.value)
    assert str(folder) in str(raised.value)


def test_a_renamed_tensor_file_is_told_from_a_missing_one(tmp_path: Path) -> None:
    folder = folders.copied(QWEN, tmp_path / "edited")
    renamed("model.safetensors", "weights.safetensors")(folder)
    with pytest.raises(FileNotFoundError, match=r"rename the file to model\.safetensors"):
        models.config_of(str(folder))


def test_messages_name_a_folder_as_the_study_does(project: Path) -> None:
    folder = folders.copied(QWEN, project / "checkpoints" / "mine")
    gone("tokenizer.json")(folder)
    with pytest.raises(FileNotFoundError, match=r"^checkpoints/mine has no tokenizer"):
        models.config_of("checkpoints/mine")


CODE = "import pathlib\npathlib.Path(__file__).with_name('executed').touch()\n"
CODE += "class Own: pass\n"
AUTO = {
    "config.json": ("AutoConfig", "AutoModel", "AutoModelForImageTextToText"),
    "tokenizer_config.json": ("AutoTokenizer",),
    "preprocessor_config.json": ("AutoImageProcessor", "AutoProcessor"),
    "processor_config.json": ("AutoProcessor", "AutoImageProcessor"),
}


class _Refusing:
    def readline(self) -> str:
        raise AssertionError("somebody asks on standard input")


@pytest.mark.parametrize(
    ("file", "owner"), [(file, owner) for file, owners in AUTO.items() for owner in owners]
)
@pytest.mark.parametrize("name", [QWEN, INTERNVL, LLAVA])
def test_code_of_a_folder_is_refused_without_asking_and_never_run(
    name: str, file: str, owner: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "stdin", _Refusing())
    folder = folders.copied(name, tmp_path / "edited")
    (folder / "own.py").write_text(CODE)
    json_edit(file, auto_map={owner: "own.Own"})(folder)
    with pytest.raises(ValueError, match=rf"{file} names code of its own \({owner}: own.Own\)"):
        models.config_of(str(folder))
    assert not list(folder.rglob("executed"))


@pytest.mark.parametrize("inner", ["vision_config", "text_config"])
def test_code_that_a_part_names_is_refused_too(inner: str, tmp_path: Path) -> None:
    folder = folders.copied(INTERNVL, tmp_path / "edited")
    part = read(folder / "config.json")[inner] | {"auto_map": {"AutoModel": "own.Own"}}
    json_edit("config.json", **{inner: part})(folder)
    with pytest.raises(ValueError, match="names code of its own"):
        models.load(str(folder))


def test_code_named_without_its_owner_is_refused_too(tmp_path: Path) -> None:
    folder = folders.copied(QWEN, tmp_path / "edited")
    json_edit("tokenizer_config.json", auto_map=["own.Own", None])(folder)
    with pytest.raises(ValueError, match=r"tokenizer_config.json names code of its own \(auto_map"):
        models.load(str(folder))


def test_every_error_of_transformers_is_one_line_but_want_of_memory() -> None:
    with (
        pytest.raises(ValueError, match=r"^mine: its weights cannot be read \(TypeError: a b\)"),
        checkpoint.one_line("mine", "weights"),
    ):
        raise TypeError("a\n   b")
    for error in (MemoryError(), torch.OutOfMemoryError()):
        with pytest.raises(type(error)), checkpoint.one_line("mine", "weights"):
            raise error


def _pinned(call: ast.Call) -> bool:
    given = {word.arg: word.value for word in call.keywords}
    value = given.get("trust_remote_code")
    return isinstance(value, ast.Constant) and value.value is False


@pytest.mark.parametrize("room", ["medres", "benchmarks"])
def test_nothing_is_read_without_saying_that_no_code_is_trusted(room: str) -> None:
    """Where nothing is said, transformers asks on standard input whether to run the code."""
    calls = [
        (path, node)
        for path in sorted((REPOSITORY / room).rglob("*.py"))
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.Call)
        and isinstance(node.func, ast.Attribute)
        and node.func.attr in ("from_pretrained", "from_config")
    ]
    assert len(calls) >= 2
    assert [f"{path}:{call.lineno}" for path, call in calls if not _pinned(call)] == []


@pytest.mark.parametrize("part", ["", "text_config", "vision_config"])
def test_a_network_without_weights_takes_no_kernel_that_a_config_names(
    part: str, tmp_path: Path
) -> None:
    """transformers would fetch it and run it, when the network is built."""
    folder = folders.copied(INTERNVL, tmp_path / "edited")
    named = {"attn_implementation": "someone/kernel"}
    within = read(folder / "config.json").get(part, {}) | named
    json_edit("config.json", **({part: within} if part else named))(folder)
    networks = [
        without_weights.load(str(folder)).network,
        models.load(str(folder)).network,
    ]
    for network in networks:
        parts = (network.config, network.config.text_config, network.config.vision_config)
        assert {each._attn_implementation for each in parts} == {"sdpa"}
    assert offline.sizes_of(offline.config_of(str(folder))).n_weights


COMMIT = "0123456789abcdef0123456789abcdef01234567"


@pytest.fixture
def hub(project: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder of a model of the Hub, as it is kept on this machine."""
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(project / "kept"))
    kept = project / "kept" / "models--someone--model"
    (kept / "refs").mkdir(parents=True)
    (kept / "blobs").mkdir()
    (kept / "snapshots").mkdir()
    return folders.copied(QWEN, kept / "snapshots" / COMMIT)


def test_a_model_of_the_hub_is_read_as_its_folder_is(hub: Path, tmp_path: Path) -> None:
    there = models.load("someone/model", revision=COMMIT)
    here = models.load(str(folders.copied(QWEN, tmp_path / "plain")))
    np.testing.assert_array_equal(folders.says(there), folders.says(here))
    assert models.fingerprint("someone/model", revision=COMMIT) == f"someone/model@{COMMIT}"


@pytest.mark.parametrize(
    ("edit", "message"),
    [
        (written("adapter_config.json", '{"peft_type": "LORA"}'), "whole weights and an adapter"),
        (json_edit("tokenizer_config.json", auto_map={"AutoTokenizer": "a.B"}), "code of its own"),
        (json_edit("config.json", quantization_config={"quant_method": "awq"}), r"\(awq\)"),
        (gone("model.safetensors"), "could not be loaded"),
    ],
)
def test_a_model_of_the_hub_is_checked_as_a_folder_is(hub: Path, edit: Edit, message: str) -> None:
    edit(hub)
    with pytest.raises((ValueError, OSError), match=message) as raised:
        models.load("someone/model", revision=COMMIT)
    assert "someone/model at commit 0123" in str(raised.value)
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize("name", [QWEN, INTERNVL, LLAVA])
@pytest.mark.parametrize("stored", [torch.float32, torch.bfloat16])
def test_weights_read_in_16_bits_are_those_read_in_32_and_rounded(
    name: str, stored: torch.dtype, tmp_path: Path
) -> None:
    folder = folders.copied(name, tmp_path / "stored")
    tensors_edit(lambda each: each.update({key: each[key].to(stored) for key in each}))(folder)
    whole, half = (models.load(str(folder), dtype=dtype) for dtype in ("float32", "bfloat16"))
    for weights in whole.network.parameters():
        weights.data = weights.data.to(torch.bfloat16)
    before, after = (dict(each.network.named_parameters()) for each in (whole, half))
    assert before.keys() == after.keys()
    assert all(torch.equal(before[key], after[key]) for key in before)
    assert {weights.dtype for weights in after.values()} == {torch.bfloat16}
    # Rotary frequencies in 16 bits would put distant tokens in wrong places.
    before, after = (dict(each.network.named_buffers()) for each in (whole, half))
    assert before.keys() == after.keys()
    for key in before:
        assert before[key].dtype == after[key].dtype, key
        assert torch.equal(before[key], after[key]), key
    np.testing.assert_array_equal(folders.says(whole), folders.says(half))


def test_an_unknown_precision_is_refused() -> None:
    with pytest.raises(ValueError, match="dtype is 'float16'; use float32 or bfloat16"):
        models.load(QWEN, dtype="float16")
