import dataclasses
import json
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from PIL import Image
from transformers import (
    GotOcr2ImageProcessorPil,
    InternVLConfig,
    LlavaOnevisionConfig,
    PretrainedConfig,
)
from transformers.models.llava_onevision.modeling_llava_onevision import LlavaOnevisionModel
from transformers.models.llava_onevision.processing_llava_onevision import LlavaOnevisionProcessor

from medres import datasets, inference, models, resolution, training
from medres.datasets import QuestionSet
from medres.inference import asking, generation
from medres.models import LoadedModel, conversation, flops, tiny
from medres.models.families import internvl, llava_onevision
from medres.training.samples import Samples
from tests.models.test_conversation import without_ends

TILERS = ("tiny-internvl", "tiny-llava-onevision")
EXTREME_PX = ((20, 4000), (4000, 20), (1, 1), (1, 200), (27, 29), (56, 56), (999, 31), (57, 56))
ASKED = {
    "is there a nodule?": ["yes", "no"],
    "Which organelle does the green protein label?": ["golgi apparatus", "plasma membrane", "ER"],
    "µ-opioid? “naïve” 病変": ["α", "no"],
}
PAPER = {"low_max_pixels": 50_176, "native_max_pixels": 12_845_056, "resampling_filter": "bicubic"}
SMALL = {"low_max_pixels": 3_136, "native_max_pixels": 50_176, "resampling_filter": "bicubic"}


@pytest.fixture(scope="module")
def load(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., LoadedModel]:
    """Gives a tiny model by name and tiling; do not train it."""
    folder = tmp_path_factory.mktemp("tilers")
    kept: dict[str, LoadedModel] = {}

    def by_name(name: str, tiling: str = "information") -> LoadedModel:
        if name not in kept:
            kept[name] = models.load(str(tiny.make(folder / name, name)))
        return dataclasses.replace(kept[name], tiling=tiling)

    return by_name


@pytest.fixture(params=TILERS)
def model(request: pytest.FixtureRequest, load: Callable[..., LoadedModel]) -> LoadedModel:
    return load(request.param)


def _sizes(n_sizes: int, largest_px: int) -> list[tuple[int, int]]:
    drawn = np.exp(np.random.default_rng(3).uniform(0, np.log(largest_px), (n_sizes, 2)))
    return [*EXTREME_PX, *((int(width), int(height)) for width, height in drawn)]


def _noise(size_px: tuple[int, int], seed: int = 0) -> Image.Image:
    width, height = size_px
    pixels = np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)
    return Image.fromarray(pixels)


def _encode(model: LoadedModel, size_px: tuple[int, int], asked: dict[str, list[str]]):
    ids = [f"q{index}" for index in range(len(asked))]
    return conversation.encode(model, size_px, ids, list(asked), list(asked.values()))


# Width and height; InternVL's low and native tokens; LLaVA-OneVision's native canvas and its
# low and native tokens, at 50,176 and 12,845,056 px.
TABLE = [
    ((2048, 2048), 256, 2_560, (2304, 2304), 1_485, 7_371),
    ((1280, 1024), 3_328, 3_328, (1536, 1152), 1_317, 7_281),
    ((2048, 1536), 3_328, 3_328, (2304, 1536), 1_317, 7_309),
    ((4000, 3000), 3_328, 3_328, (2304, 1920), 1_317, 7_309),
    ((1024, 1024), 256, 2_560, (1152, 1152), 1_485, 7_371),
    ((750, 400), 768, 768, (768, 768), 1_149, 2_269),
    ((512, 512), 256, 256, (768, 768), 1_485, 3_699),
]


@pytest.mark.parametrize("row", TABLE)
def test_the_real_models_geometry_is_that_of_the_paper_s_data_sets(row: tuple) -> None:
    size_px, *internvl_tokens, canvas_px, llava_low, llava_native = row
    for config, expected in (
        (InternVLConfig(), internvl_tokens),
        (LlavaOnevisionConfig(), [llava_low, llava_native]),
    ):
        treatment = models.treatment(config, **PAPER)
        low, native = (resolution.plan(size_px, name, treatment) for name in ("low", "native"))
        assert [low.visual_tokens, native.visual_tokens] == expected
        assert native.given_px == size_px
    assert native.layout.canvas_px == canvas_px


@pytest.mark.parametrize("config", [InternVLConfig(), LlavaOnevisionConfig()], ids=["i", "l"])
@pytest.mark.parametrize("row", TABLE)
def test_low_costs_less_where_tiles_follow_pixels(row: tuple, config: PretrainedConfig) -> None:
    treatment = models.treatment(config, **PAPER, tiling="compute")
    low, native = (resolution.plan(row[0], name, treatment) for name in ("low", "native"))
    tile_px = 448 if config.model_type == "internvl" else 384
    assert (low.layout.columns, low.layout.rows) == (1, 1)
    for geometry in (low, native):
        n_tiles = geometry.layout.columns * geometry.layout.rows
        assert n_tiles <= max(1, geometry.given_px[0] * geometry.given_px[1] // tile_px**2)
    assert low.n_crops < native.n_crops or native.layout.columns * native.layout.rows == 1


def test_internvl_s_tokens_are_those_of_its_processor_for_any_size() -> None:
    processor = GotOcr2ImageProcessorPil(size={"height": 448, "width": 448})
    config = InternVLConfig()
    seen = set()
    for size_px in _sizes(2_000, 4_000):
        for tiling, most in (("information", 12), ("compute", None)):
            most = most or min(12, max(1, size_px[0] * size_px[1] // 448**2))
            asked = {"crop_to_patches": True, "min_patches": 1, "max_patches": most}
            n_crops = processor.get_number_of_image_patches(size_px[1], size_px[0], asked)
            layout = models.geometry(config, size_px, tiling=tiling)
            assert (layout.n_crops, layout.visual_tokens) == (n_crops, 256 * n_crops), size_px
            seen.add(n_crops)
    assert seen >= {1, 3, 7, 13}


@pytest.mark.parametrize("tiling", models.TILINGS)
def test_llava_s_tokens_are_those_of_its_network_for_any_size(tiling: str) -> None:
    config = LlavaOnevisionConfig()
    packer = SimpleNamespace(config=config)
    for size_px in _sizes(2_000, 4_000):
        layout = models.geometry(config, size_px, tiling=tiling)
        canvas = (layout.canvas_px[1], layout.canvas_px[0])
        is_free = tiling == "information"
        told = size_px[::-1] if is_free else llava_onevision._fitted(size_px, canvas)
        (rows,), _ = LlavaOnevisionModel.pack_image_features(
            packer, [torch.zeros(layout.n_crops, 729, 1)], [told], image_newline=torch.zeros(1)
        )
        assert layout.visual_tokens == len(rows), size_px


def test_llava_s_tokens_are_those_of_its_processor_for_any_size() -> None:
    config = LlavaOnevisionConfig()
    processor = SimpleNamespace(
        image_processor=config, num_image_tokens=729, vision_aspect_ratio="anyres_max_9"
    )
    processor._get_unpadded_features = lambda *sizes: (
        LlavaOnevisionProcessor._get_unpadded_features(processor, *sizes)
    )
    for width, height in _sizes(2_000, 4_000):
        expected = LlavaOnevisionProcessor._get_number_of_features(
            processor, height, width, 384, 384
        )
        assert models.geometry(config, (width, height)).visual_tokens == expected, (width, height)


@pytest.mark.parametrize("name", TILERS)
def test_planned_crops_and_tokens_are_the_pixels_and_placeholders_for_any_size(
    load: Callable[..., LoadedModel], name: str
) -> None:
    for index, size_px in enumerate(_sizes(2_000, 300)):
        model = load(name, models.TILINGS[index % 2])
        layout = models.geometry(model.config, size_px, tiling=model.tiling)
        pixels = models.pixel_inputs(model, [Image.new("RGB", size_px)])["pixel_values"]
        n_crops = pixels.shape[-4]
        assert (n_crops, *pixels.shape[-3:]) == (layout.n_crops, 3, 56, 56), size_px
        if index % 20 == 0:
            tree = _encode(model, size_px, {"is it?": ["yes"]})
            n_tokens = int((tree.token_ids == model.image_token_id).sum())
            assert n_tokens == layout.visual_tokens, size_px


@torch.no_grad()
@pytest.mark.parametrize("tiling", models.TILINGS)
@pytest.mark.parametrize("name", TILERS)
def test_the_network_accepts_the_planned_tokens(
    load: Callable[..., LoadedModel], name: str, tiling: str
) -> None:
    """It counts placeholders against features itself, and refuses others."""
    model = load(name, tiling)
    for size_px in _sizes(20, 400):
        tree = _encode(model, size_px, {"is it?": ["yes"]})
        assert np.isfinite(generation.score(model, [tree], [_noise(size_px)])[0]).all()


def test_pixels_that_fill_the_canvas_reach_the_network_untouched(model: LoadedModel) -> None:
    image = _noise((112, 112))
    crops = models.pixel_inputs(model, [image])["pixel_values"].reshape(-1, 3, 56, 56)
    tiles = crops[:4] if len(crops) == 5 and model.config.model_type == "internvl" else crops[1:5]
    rows = tiles.reshape(2, 2, 3, 56, 56).permute(0, 3, 1, 4, 2).reshape(112, 112, 3)
    seen = (rows * 0.1 + 0.1) * 255
    assert np.array_equal(seen.round().numpy().astype(np.uint8), np.asarray(image))


def test_llava_s_canvas_is_the_one_its_processor_takes_by_itself(
    load: Callable[..., LoadedModel],
) -> None:
    model = load("tiny-llava-onevision")
    images = [_noise(size_px) for size_px in ((112, 84), (300, 40), (56, 56), (200, 201))]
    alone = model.image_processor(images, return_tensors="pt")
    ours = models.pixel_inputs(model, images)
    assert torch.equal(ours["pixel_values"], alone["pixel_values"])
    assert torch.equal(ours["image_sizes"], alone["image_sizes"])


def test_the_second_resampling_is_in_the_answers(
    load: Callable[..., LoadedModel], tmp_path: Path
) -> None:
    question_set = _question_set(tmp_path)
    model = load("tiny-internvl")
    treatment = models.treatment(model.config, **SMALL)
    geometry = resolution.plan((100, 70), "low", treatment)
    (row, *_) = asking.answer(
        model, question_set, [(geometry, *asking.by_image(question_set.table))], "low"
    )
    assert row["resampling"] == "66x46 bicubic then 168x112 bicubic by the model"
    kept = {name: row[name] for name in ("tiling", "tile_columns", "tile_rows", "n_crops")}
    assert kept == {"tiling": "information", "tile_columns": 3, "tile_rows": 2, "n_crops": 7}


def _flat(model: LoadedModel, size_px: tuple[int, int], question: str, reply: str) -> tuple:
    """Return prompt and reply tokens of the plain conversation, made without our module."""
    said = [{"type": "text", "text": conversation.SYSTEM_PROMPT}]
    content = [{"type": "image"}, {"type": "text", "text": question}]
    text = model.tokenizer.apply_chat_template(
        [{"role": "system", "content": said}, {"role": "user", "content": content}],
        tokenize=False,
        add_generation_prompt=True,
    )
    n_tokens = models.geometry(model.config, size_px, tiling=model.tiling).visual_tokens
    if model.config.model_type == "internvl":
        text = text.replace("<IMG_CONTEXT>", f"<img>{'<IMG_CONTEXT>' * n_tokens}</img>")
    else:
        text = text.replace("<image>", "<image>" * n_tokens)
    reply_ids = model.tokenizer.encode(f"{reply}<|im_end|>", add_special_tokens=False)
    return model.tokenizer.encode(text), reply_ids


@torch.no_grad()
def _flat_score(model: LoadedModel, image: Image.Image, question: str, reply: str) -> float:
    prompt, answer = _flat(model, image.size, question, reply)
    input_ids = torch.tensor([prompt + answer])
    logits = model.network(
        input_ids=input_ids,
        attention_mask=torch.ones_like(input_ids),
        **models.pixel_inputs(model, [image]),
    ).logits
    chosen = torch.log_softmax(logits[0].double(), dim=-1)[len(prompt) - 1 : -1]
    return float(chosen[torch.arange(len(answer)), torch.tensor(answer)].sum())


@pytest.mark.parametrize("tiling", models.TILINGS)
@pytest.mark.parametrize("name", TILERS)
def test_the_tree_scores_each_reply_as_its_flat_conversation_does(
    load: Callable[..., LoadedModel], name: str, tiling: str
) -> None:
    model = load(name, tiling)
    pixels = [_noise((130, 70), 1), _noise((56, 50), 2)]
    few = {question: ASKED[question] for question in list(ASKED)[:2]}
    trees = [
        _encode(model, image.size, each) for image, each in zip(pixels, [ASKED, few], strict=True)
    ]
    assert len(trees[0].token_ids) != len(trees[1].token_ids)
    with torch.no_grad():
        scored = generation.score(model, trees, pixels)
    for image, each, scores in zip(pixels, [ASKED, few], scored, strict=True):
        flat = [
            _flat_score(model, image, question, reply)
            for question, replies in each.items()
            for reply in replies
        ]
        np.testing.assert_allclose(scores[0], flat, rtol=0, atol=1e-4)
        assert np.ptp(flat) > 0.1


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        (
            "tiny-internvl",
            "<s><|im_start|>system\nYou are a biomedical expert.<|im_end|>\n<|im_start|>user\n"
            "<img><IMG_CONTEXT><IMG_CONTEXT><IMG_CONTEXT><IMG_CONTEXT></img>\nIs it?<|im_end|>\n"
            "<|im_start|>assistant\nyes<|im_end|>",
        ),
        (
            "tiny-llava-onevision",
            "<|im_start|>system \nYou are a biomedical expert.<|im_end|><|im_start|>user "
            f"{'<image>' * 36}\nIs it?<|im_end|><|im_start|>assistant\nyes<|im_end|>",
        ),
    ],
)
def test_the_prompt_is_the_one_we_print(
    load: Callable[..., LoadedModel], name: str, expected: str
) -> None:
    """Golden: a changed prompt changes every result and must be meant."""
    model = load(name)
    tree = _encode(model, (56, 56), {"Is it?": ["yes"]})
    assert model.tokenizer.decode(tree.token_ids) == expected
    assert tree.positions.tolist() == [list(range(len(tree.token_ids)))]


def test_a_template_that_leaves_out_the_system_prompt_raises(
    load: Callable[..., LoadedModel],
) -> None:
    model = load("tiny-llava-onevision")
    tokenizer = type(model.tokenizer)(tokenizer_object=model.tokenizer.backend_tokenizer)
    tokenizer.chat_template = model.tokenizer.chat_template.replace(
        "for message in messages", "for message in messages if message.role != 'system'"
    )
    with pytest.raises(ValueError, match="leaves out the system prompt"):
        _encode(dataclasses.replace(model, tokenizer=tokenizer), (56, 56), {"is it?": ["yes"]})


def test_an_open_question_is_generated_as_the_scores_say(model: LoadedModel) -> None:
    image = _noise((80, 60))
    treatment = models.treatment(model.config, **SMALL)
    geometry = resolution.plan(image.size, "native", treatment)
    reply = generation.generate(model, geometry, image, "q", "what is it?")
    prompt, _ = _flat(model, image.size, "what is it?", "")
    with torch.no_grad():
        logits = model.network(
            input_ids=torch.tensor([prompt]), **models.pixel_inputs(model, [image])
        ).logits
    first = model.tokenizer.decode(logits[0, -1].argmax(), skip_special_tokens=True).strip()
    assert reply.answer.startswith(first)


def _question_set(folder: Path) -> QuestionSet:
    image = _noise((100, 70))
    image.save(folder / "a.png")
    table = pd.DataFrame(
        {
            "question_id": ["q0", "q1"],
            "image": "a.png",
            "question": list(ASKED)[:2],
            "reference": ["no", "golgi apparatus"],
            "options": [["yes", "no"], ["golgi apparatus", "plasma membrane"]],
            "modality": "image",
            "split": "train",
            "group": "a",
            "width_px": image.width,
            "height_px": image.height,
        }
    )
    return QuestionSet("drawn", table, folder, fingerprint="")


@pytest.mark.parametrize("resolution_name", ["low", "native"])
@pytest.mark.parametrize("tiling", models.TILINGS)
@pytest.mark.parametrize("name", TILERS)
def test_training_and_inference_encode_the_same_tensors(
    load: Callable[..., LoadedModel], tmp_path: Path, name: str, tiling: str, resolution_name: str
) -> None:
    model = load(name, tiling)
    question_set = _question_set(tmp_path)
    treatment = models.treatment(model.config, **SMALL, tiling=tiling)
    train = question_set.split("train")
    names = np.full(len(train), resolution_name)
    samples = Samples(model, question_set, train, names, treatment, epochs=1, seed=0)
    trained = samples.collate([samples[0]])
    labels, _ = trained.pop("labels"), trained.pop("logits_to_keep")
    trained |= trained.pop("vision").inputs
    asked: list[dict[str, torch.Tensor]] = []

    def note(**inputs: Any) -> object:
        inputs.pop("use_cache")
        asked.append(inputs)
        return model.network.model(**inputs)

    note.language_model = model.network.model.language_model  # type: ignore[attr-defined]
    spy = SimpleNamespace(device=torch.device("cpu"), model=note, lm_head=model.network.lm_head)
    spied = dataclasses.replace(model, network=spy)
    only_reference = train.assign(options=[[reference] for reference in train["reference"]])
    geometry = resolution.plan((100, 70), resolution_name, treatment)
    asking.answer(
        spied, question_set, [(geometry, *asking.by_image(only_reference))], resolution_name
    )
    assert trained.keys() == asked[0].keys()
    for key, value in without_ends(trained, samples.trees[samples.order[0]]).items():
        assert torch.equal(value, asked[0][key]), key
    assert model.tokenizer.decode(labels[labels != conversation.IGNORED]) == (
        "no<|im_end|>golgi apparatus<|im_end|>"
    )


@pytest.mark.parametrize("size_px", [(50, 56), (200, 100)])
def test_operations_equal_what_pytorch_counts(model: LoadedModel, size_px: tuple[int, int]) -> None:
    from torch.nn.attention import SDPBackend, sdpa_kernel
    from torch.utils.flop_counter import FlopCounterMode

    tree = _encode(model, size_px, {"is it?": ["yes"]})
    input_ids = torch.from_numpy(tree.token_ids)[None]
    pixels = models.pixel_inputs(model, [_noise(size_px)])
    with torch.no_grad(), sdpa_kernel(SDPBackend.MATH), FlopCounterMode(display=False) as counter:
        model.network(
            input_ids=input_ids,
            attention_mask=torch.ones_like(input_ids),
            **pixels,
            use_cache=False,
        )
    layout = models.geometry(model.config, size_px)
    counted = flops.forward_flops(
        model.shape,
        visual_tokens=layout.visual_tokens,
        text_tokens=len(tree.token_ids) - layout.visual_tokens,
        n_crops=layout.n_crops,
    )
    assert counter.get_total_flops() == counted


def test_a_saved_checkpoint_loads_to_equal_scores(model: LoadedModel, tmp_path: Path) -> None:
    models.save(model, str(tmp_path / "checkpoint"))
    loaded = models.load(str(tmp_path / "checkpoint"), tiling="compute")
    assert (loaded.tiling, loaded.shape) == ("compute", model.shape)
    image = _noise((56, 56))
    trees = [_encode(each, image.size, ASKED) for each in (model, loaded)]
    with torch.no_grad():
        first, second = (
            generation.score(each, [tree], [image])[0]
            for each, tree in zip((model, loaded), trees, strict=True)
        )
    assert np.array_equal(first, second)


@pytest.mark.parametrize("name", TILERS)
def test_the_tiny_model_is_the_same_everywhere(tmp_path: Path, name: str) -> None:
    torch.manual_seed(1)
    first = tiny.make(tmp_path / "first", name)
    torch.manual_seed(2)
    second = tiny.make(tmp_path / "second", name)
    names = sorted(path.name for path in first.iterdir())
    assert names == sorted(path.name for path in second.iterdir())
    assert all((first / each).read_bytes() == (second / each).read_bytes() for each in names)


@pytest.fixture
def checkpoint(tmp_path: Path) -> Path:
    return tiny.make(tmp_path / "checkpoint", "tiny-llava-onevision")


def test_pickled_weights_are_refused_with_a_remedy(checkpoint: Path) -> None:
    (checkpoint / "model.safetensors").rename(checkpoint / "pytorch_model.bin")
    with pytest.raises(
        FileNotFoundError, match=r"only pickled weights \(pytorch_model.bin\)"
    ) as it:
        models.load(str(checkpoint))
    assert "convert them to safetensors" in str(it.value)
    assert "\n" not in str(it.value)


def test_a_folder_without_weights_is_refused(checkpoint: Path) -> None:
    (checkpoint / "model.safetensors").unlink()
    with pytest.raises(FileNotFoundError, match="holds no weights"):
        models.load(str(checkpoint))


def test_a_missing_shard_is_named(checkpoint: Path, load: Callable[..., LoadedModel]) -> None:
    network = load("tiny-llava-onevision").network
    (checkpoint / "model.safetensors").unlink()
    network.save_pretrained(checkpoint, max_shard_size="1MB")
    shards = sorted(checkpoint.glob("model-*.safetensors"))
    assert len(shards) > 2
    models.load(str(checkpoint))
    shards[1].unlink()
    with pytest.raises(
        FileNotFoundError, match=f"lacks 1 of {len(shards)} shards.*{shards[1].name}"
    ):
        models.load(str(checkpoint))


def test_weights_that_are_left_out_do_not_stay_random(checkpoint: Path) -> None:
    from safetensors.torch import load_file, save_file

    path = checkpoint / "model.safetensors"
    tensors = load_file(path)
    removed = next(name for name in tensors if "image_newline" in name)
    del tensors[removed]
    save_file(tensors, path, metadata={"format": "pt"})
    with pytest.raises(ValueError, match=r"the weights lack \[.*image_newline"):
        models.load(str(checkpoint))


def test_a_tokenizer_without_image_token_raises(checkpoint: Path) -> None:
    for path in checkpoint.glob("*token*"):
        path.write_text(path.read_text().replace("<image>", "<picture>"))
    with pytest.raises(ValueError, match="the tokenizer's <image> is not the config's image token"):
        models.load(str(checkpoint))


def test_an_image_processor_of_another_model_raises(checkpoint: Path, tmp_path: Path) -> None:
    other = tiny.make(tmp_path / "other", "tiny-internvl")
    for folder in (checkpoint, other):
        path = folder / "preprocessor_config.json"
        size = {"height": 112, "width": 112}
        path.write_text(json.dumps(json.loads(path.read_text()) | {"size": size}))
        with pytest.raises(ValueError, match="they belong to different models"):
            models.load(str(folder))


def test_a_template_in_the_processor_s_own_file_is_used(checkpoint: Path) -> None:
    """The hub's llava-hf models keep a template without images in the tokenizer."""
    template = (checkpoint / "chat_template.jinja").read_text()
    (checkpoint / "chat_template.jinja").unlink()
    (checkpoint / "chat_template.json").write_text(json.dumps({"chat_template": template}))
    assert models.load(str(checkpoint)).tokenizer.chat_template == template


def test_an_incomplete_folder_is_refused_in_one_line(checkpoint: Path) -> None:
    (checkpoint / "preprocessor_config.json").unlink()
    with pytest.raises(FileNotFoundError, match=r"has no image processor; copy prep") as raised:
        models.load(str(checkpoint))
    assert "\n" not in str(raised.value)


def test_a_model_with_code_of_its_own_is_refused(project: Path) -> None:
    """OpenGVLab/InternVL2_5-2B is such a one; its code would otherwise be offered to run."""
    (project / "other").mkdir()
    content = {"model_type": "internvl_chat", "auto_map": {"AutoConfig": "configuration.Chat"}}
    (project / "other" / "config.json").write_text(json.dumps(content))
    with pytest.raises(ValueError, match="'other' is a internvl_chat; known families are"):
        models.load("other")


def test_a_hub_that_cannot_be_reached_is_one_line_with_a_remedy(project: Path) -> None:
    with pytest.raises(OSError, match=r"at commit abc could not be loaded.*the network") as raised:
        models.load("no-organisation/no-model", revision="abc")
    assert "\n" not in str(raised.value)


def test_an_unknown_tiling_or_one_without_meaning_is_refused(project: Path) -> None:
    with pytest.raises(ValueError, match="tiling is 'free'; use information or compute"):
        models.load("tiny-internvl", tiling="free")
    with pytest.raises(ValueError, match="changes nothing for a qwen2_vl; use information"):
        models.load(tiny.NAME, tiling="compute")


STEPS = {"epochs": 1, "batch_images": 4, "learning_rate": 1.0e-3, "weight_decay": 0.1}
RUN = {
    "study": "tiles",
    "dataset": "phantom-radiology",
    "revision": "",
    "train_resolution": "low",
    "seed": 0,
    "low_share": 0.5,
    "threads": 1,
    "cache_gib": 0.0,
}


def test_a_run_records_the_tiling_of_models_that_tile_alone(project: Path) -> None:
    amounts = {"n_train_images": 4, "n_test_images": 2, "data_seed": 0}
    datasets.prepare("tiles", "phantom-radiology", amounts)
    recorded, tokens = {}, {}
    for name, tiling in (
        ("tiny-internvl", "information"),
        ("tiny-internvl", "compute"),
        (tiny.NAME, "information"),
    ):
        given = RUN | SMALL | {"model": name, "tiling": tiling}
        trained = training.finetune(**given, **STEPS, warmup_share=0.0, checkpoint_every_steps=10)
        asked = inference.evaluate(
            **given, eval_resolutions=["low", "native"], limit=0, batch_images=2
        )
        for run in (trained, asked):
            recorded.setdefault((name, tiling), set()).add(run.spec["parameters"].get("tiling"))
        answers = pd.read_parquet(asked.folder / "answers.parquet")
        assert ("n_crops" in answers) == (name != tiny.NAME)
        mean = answers.groupby("eval_resolution")["visual_tokens"].mean()
        tokens[name, tiling] = (mean["low"], mean["native"])
    assert recorded == {
        ("tiny-internvl", "information"): {"information"},
        ("tiny-internvl", "compute"): {"compute"},
        (tiny.NAME, "information"): {None},
    }
    assert tokens["tiny-internvl", "compute"][0] == 4 < tokens["tiny-internvl", "information"][0]


def test_the_limit_of_tiles_is_internvl_s_own() -> None:
    assert GotOcr2ImageProcessorPil().max_patches == internvl.MAX_TILES
