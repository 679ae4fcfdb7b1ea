import json
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from safetensors import SafetensorError
from transformers import AutoTokenizer, PreTrainedModel, Qwen2VLConfig

from medres import images, models, resolution
from medres.models import LoadedModel, conversation, tiny
from medres.resolution import Geometry, Layout, Treatment

EXTREME_PX = ((20, 4000), (4000, 20), (1, 1), (1, 200), (27, 29), (28, 28), (56, 56), (999, 31))
RESOLUTIONS = ("low", "native", "upsampled-bicubic")
TREATMENT = Treatment(3_136, 28_224, "bicubic", 28)


def _planned(n_sizes: int) -> list[Geometry]:
    """Return geometries of the extreme sizes and of random ones, in all resolutions."""
    rng = np.random.default_rng(7)
    drawn = np.exp(rng.uniform(0, np.log(3000), size=(n_sizes - len(EXTREME_PX), 2)))
    sizes = [*EXTREME_PX, *((int(width), int(height)) for width, height in drawn)]
    return [
        resolution.plan(size_px, RESOLUTIONS[index % 3], TREATMENT)
        for index, size_px in enumerate(sizes)
    ]


def _noise(size_px: tuple[int, int], seed: int = 0) -> Image.Image:
    width, height = size_px
    pixels = np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)
    return Image.fromarray(pixels)


def _placeholders(model: LoadedModel, size_px: tuple[int, int]) -> int:
    tree = conversation.encode(model, size_px, ["q"], ["is it?"], [["yes"]])
    return int((tree.token_ids == model.image_token_id).sum())


def test_planned_tokens_are_the_placeholders_and_the_processor_s_for_any_size(
    tiny_model: LoadedModel,
) -> None:
    geometries = _planned(200)
    for geometry in geometries:
        (grid,) = models.pixel_inputs(tiny_model, [_noise(geometry.given_px)])["image_grid_thw"]
        counts = (int(grid.prod()) // 4, _placeholders(tiny_model, geometry.given_px))
        assert counts == (geometry.visual_tokens,) * 2, geometry
    assert {geometry.visual_tokens for geometry in geometries} >= {1, 2, 3, 4}
    assert any(geometry.is_enlarged for geometry in geometries)


def test_the_vision_tower_gives_one_row_a_planned_token(tiny_model: LoadedModel) -> None:
    geometries = _planned(12)
    pixels = models.pixel_inputs(tiny_model, [_noise(each.given_px) for each in geometries])
    with torch.no_grad():
        features = tiny_model.network.model.get_image_features(**pixels).pooler_output
    assert [len(rows) for rows in features] == [each.visual_tokens for each in geometries]


def _pixels_at_entry(model: LoadedModel, inputs: dict[str, torch.Tensor]) -> Image.Image:
    """Undo the processor: patches to rows and columns, normalised values to 8 bits."""
    processor = model.image_processor
    _, rows, columns = inputs["image_grid_thw"][0].tolist()
    merge, side = processor.merge_size, processor.patch_size
    patches = inputs["pixel_values"].reshape(
        rows // merge, columns // merge, merge, merge, 3, processor.temporal_patch_size, side, side
    )
    assert torch.equal(patches[..., 0, :, :], patches[..., 1, :, :])
    # block row, merge row, y | block column, merge column, x | channel
    values = patches[..., 0, :, :].permute(0, 2, 5, 1, 3, 6, 4)
    values = values.reshape(rows * side, columns * side, 3)
    scaled = values * torch.tensor(processor.image_std) + torch.tensor(processor.image_mean)
    return Image.fromarray((scaled * 255).round().to(torch.uint8).numpy())


@pytest.mark.parametrize("name", ["low", "native", "upsampled-lanczos", "scale-0.5", "blank"])
def test_pixels_at_the_model_s_entry_are_those_of_our_resampler(
    tiny_model: LoadedModel, name: str
) -> None:
    """Other harnesses resample a second time or re-encode as JPEG on the way."""
    original = _noise((131, 90))
    given = resolution.apply(original, resolution.plan(original.size, name, TREATMENT))
    entry = _pixels_at_entry(tiny_model, models.pixel_inputs(tiny_model, [given]))
    assert images.pixel_sha256(entry) == images.pixel_sha256(given)


@pytest.mark.parametrize("size_px", [(57, 56), (56, 42), (20, 28)])
def test_an_image_off_the_grid_fails_instead_of_being_resampled(
    tiny_model: LoadedModel, size_px: tuple[int, int]
) -> None:
    with pytest.raises((ValueError, RuntimeError)):
        models.pixel_inputs(tiny_model, [_noise(size_px)])


def test_pixel_inputs_are_the_image_processor_s_to_the_last_bit(tiny_model: LoadedModel) -> None:
    levels = np.arange(256, dtype=np.uint8)
    every = np.stack([levels, levels[::-1], np.roll(levels, 100)], axis=-1)
    batch = [Image.fromarray(np.resize(every, (56, 84, 3))), _noise((28, 112))]
    expected = tiny_model.image_processor(batch, do_resize=False, return_tensors="pt")
    found = models.pixel_inputs(tiny_model, batch)
    assert found.keys() == set(expected.keys())
    for name, value in found.items():
        assert value.dtype == expected[name].dtype
        assert torch.equal(value, expected[name]), name


def test_one_frame_of_a_picture_gives_the_features_of_two(tiny_model: LoadedModel) -> None:
    batch = [_noise((56, 28), 1), _noise((84, 84), 2)]
    two, one = (make(tiny_model, batch) for make in (models.pixel_inputs, models.answer_inputs))
    assert 2 * one["pixel_values"].shape[1] == two["pixel_values"].shape[1]
    with torch.no_grad():
        first, second = (
            torch.cat(tiny_model.network.model.get_image_features(**each).pooler_output)
            for each in (two, one)
        )
    np.testing.assert_allclose(first, second, rtol=0, atol=1e-4)
    assert first.std() > 0.01


def test_images_of_one_batch_keep_their_order(tiny_model: LoadedModel) -> None:
    batch = [_noise((56, 28), 1), _noise((28, 84), 2)]
    together = models.pixel_inputs(tiny_model, batch)
    alone = [models.pixel_inputs(tiny_model, [image]) for image in batch]
    for name in ("pixel_values", "image_grid_thw"):
        assert torch.equal(together[name], torch.cat([each[name] for each in alone]))


def test_the_linear_patch_embedding_is_the_convolution(tiny_model: LoadedModel) -> None:
    embedding = tiny_model.network.model.visual.patch_embed
    patches = models.pixel_inputs(tiny_model, [_noise((84, 56))])["pixel_values"]
    weight = embedding.proj.weight
    target = torch.from_numpy(np.random.default_rng(1).normal(size=(len(patches), len(weight))))
    gradients, outputs = [], []
    for forward in (embedding.forward, lambda each: type(embedding).forward(embedding, each)):
        output = forward(patches)
        (gradient,) = torch.autograd.grad((output * target).sum(), weight)
        outputs.append(output)
        gradients.append(gradient)
    for linear, convolved in (outputs, gradients):
        largest = float(convolved.detach().abs().max())
        torch.testing.assert_close(linear, convolved, rtol=0, atol=1e-5 * largest)


def test_positions_of_an_image_count_rows_and_columns_from_its_start() -> None:
    is_image = np.array([False] * 5 + [True] * 6 + [False] * 2)
    layout = Layout(visual_tokens=6, canvas_px=(84, 56))
    positions = models.family_of(Qwen2VLConfig()).positions(Qwen2VLConfig(), is_image, layout)
    before, after = [0, 1, 2, 3, 4], [8, 9]
    assert positions.tolist() == [
        [*before, *[5] * 6, *after],
        [*before, 5, 5, 5, 6, 6, 6, *after],
        [*before, 5, 6, 7, 5, 6, 7, *after],
    ]


def test_the_tiny_model_is_the_same_everywhere(tmp_path: Path) -> None:
    torch.manual_seed(1)
    first = tiny.make(tmp_path / "first")
    torch.manual_seed(2)
    before = torch.random.get_rng_state()
    second = tiny.make(tmp_path / "second")
    assert torch.equal(before, torch.random.get_rng_state())
    assert models.weights_sha256(first) == models.weights_sha256(second)
    names = sorted(path.name for path in first.iterdir())
    assert names == sorted(path.name for path in second.iterdir())
    assert all((first / name).read_bytes() == (second / name).read_bytes() for name in names)


def test_the_tiny_model_is_made_once(tmp_path: Path) -> None:
    folder = tiny.make(tmp_path / "tiny")
    times = {path: path.stat().st_mtime_ns for path in folder.iterdir()}
    assert tiny.make(folder) == folder
    assert times == {path: path.stat().st_mtime_ns for path in folder.iterdir()}


def test_a_half_written_tiny_model_of_a_killed_process_is_no_obstacle(tmp_path: Path) -> None:
    half = tmp_path / ".tiny-abcdef"
    half.mkdir()
    (half / "config.json").write_text("{")
    (tmp_path / "tiny").mkdir()
    folder = tiny.make(tmp_path / "tiny")
    assert models.weights_sha256(folder)
    assert (half / "config.json").read_text() == "{"


def test_a_second_writer_of_the_tiny_model_leaves_the_first_one_s(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder, real = tmp_path / "tiny", tiny._tokenizer

    def while_another_writes(*given: object, **named: object) -> object:
        monkeypatch.setattr(tiny, "_tokenizer", real)
        tiny.make(folder)
        (folder / "mark").touch()
        return real(*given, **named)

    monkeypatch.setattr(tiny, "_tokenizer", while_another_writes)
    tiny.make(folder)
    assert (folder / "mark").exists()
    assert [path.name for path in tmp_path.iterdir()] == ["tiny"]


def test_a_tiny_model_that_a_full_disk_refuses_is_named_and_leaves_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object, **__: object) -> None:
        raise SafetensorError("Error while serializing: No space left on device")

    monkeypatch.setattr(PreTrainedModel, "save_pretrained", full)
    with pytest.raises(OSError, match=r"tiny cannot be written: .*No space left"):
        tiny.make(tmp_path / "tiny")
    assert not list(tmp_path.iterdir())


def test_a_damaged_tiny_model_is_named_before_it_is_read(tmp_path: Path) -> None:
    folder = tiny.make(tmp_path / "tiny")
    (folder / "tokenizer.json").write_text("{")
    with pytest.raises(ValueError, match=r"tokenizer\.json is damaged"):
        tiny.make(folder)


def test_special_tokens_are_those_of_qwen2_vl(tiny_model: LoadedModel) -> None:
    tokenizer, config = tiny_model.tokenizer, tiny_model.network.config
    for token in models.family_of(config).tiny_tokens:
        assert len(tokenizer.encode(token, add_special_tokens=False)) == 1, token
        assert tokenizer.decode(tokenizer.encode(token), skip_special_tokens=True) == ""
    assert (tokenizer.eos_token, tokenizer.pad_token) == ("<|im_end|>", "<|endoftext|>")
    named = {
        "<|image_pad|>": config.image_token_id,
        "<|video_pad|>": config.video_token_id,
        "<|vision_start|>": config.vision_start_token_id,
        "<|vision_end|>": config.vision_end_token_id,
    }
    assert {token: tokenizer.convert_tokens_to_ids(token) for token in named} == named
    assert len(tokenizer) == config.text_config.vocab_size


_SPOKEN = st.text(max_size=40).filter(lambda text: "<|" not in text)


@given(_SPOKEN)
@settings(max_examples=100, deadline=None)
def test_any_text_survives_the_tokenizer(tiny_tokenizer: object, text: str) -> None:
    ids = tiny_tokenizer.encode(text, add_special_tokens=False)
    assert tiny_tokenizer.decode(ids) == text


@pytest.fixture(scope="module")
def tiny_tokenizer(tiny_model: LoadedModel) -> object:
    return tiny_model.tokenizer


def test_the_chat_template_puts_system_prompt_image_and_question_in_order(
    tiny_model: LoadedModel,
) -> None:
    content = [{"type": "image"}, {"type": "text", "text": "Is it?"}]
    text = tiny_model.tokenizer.apply_chat_template(
        [{"role": "system", "content": "Be brief."}, {"role": "user", "content": content}],
        tokenize=False,
        add_generation_prompt=True,
    )
    assert text == (
        "<|im_start|>system\nBe brief.<|im_end|>\n<|im_start|>user\n"
        "<|vision_start|><|image_pad|><|vision_end|>Is it?<|im_end|>\n<|im_start|>assistant\n"
    )


@pytest.fixture
def checkpoint(tiny_model: LoadedModel, tmp_path: Path) -> Path:
    models.save(tiny_model, str(tmp_path / "checkpoint"))
    return tmp_path / "checkpoint"


@torch.no_grad()
def _logits(model: LoadedModel) -> torch.Tensor:
    tree = conversation.encode(model, (56, 28), ["q"], ["is it?"], [["yes", "no"]])
    batch = conversation.collate([tree], pad_token_id=model.tokenizer.pad_token_id)
    return model.network(**batch, **models.pixel_inputs(model, [_noise((56, 28))])).logits


def test_a_saved_checkpoint_loads_to_equal_logits(
    tiny_model: LoadedModel, checkpoint: Path
) -> None:
    loaded = models.load(str(checkpoint))
    assert torch.equal(_logits(loaded), _logits(tiny_model))
    assert not loaded.network.training
    assert loaded.shape == tiny_model.shape
    assert (loaded.max_length, loaded.multiple_px) == (32_768, 28)


def _edit_json(path: Path, **values: object) -> None:
    path.write_text(json.dumps(json.loads(path.read_text()) | values))


def test_an_unknown_model_raises_naming_what_may_be_given(project: Path) -> None:
    for name in ("qwen", "./runs/nothing", "runs/study/finetune/cell/checkpoint"):
        with pytest.raises(FileNotFoundError, match=r"unknown model .*; give tiny-qwen2-vl"):
            models.load(name)


def test_an_unfinished_folder_is_not_taken_for_a_hub_id(project: Path) -> None:
    (project / "runs" / "half").mkdir(parents=True)
    with pytest.raises(FileNotFoundError, match="unknown model 'runs/half'"):
        models.load("runs/half")


def test_a_hub_id_without_revision_raises(project: Path) -> None:
    with pytest.raises(ValueError, match="'Qwen/Qwen2-VL-2B' is a hub id without revision"):
        models.load("Qwen/Qwen2-VL-2B")


def test_an_architecture_without_family_file_raises(project: Path) -> None:
    (project / "other").mkdir()
    (project / "other" / "config.json").write_text('{"model_type": "llama"}')
    with pytest.raises(ValueError, match="'other' is a llama; known families are qwen2_vl"):
        models.load("other")


def test_a_tokenizer_of_another_model_raises(checkpoint: Path) -> None:
    config = json.loads((checkpoint / "config.json").read_text())
    _edit_json(checkpoint / "config.json", image_token_id=config["video_token_id"])
    with pytest.raises(ValueError, match=r"the tokenizer's <\|image_pad\|> is not the config's"):
        models.load(str(checkpoint))


def test_a_tokenizer_without_image_token_raises(checkpoint: Path) -> None:
    for path in checkpoint.glob("*token*"):
        path.write_text(path.read_text().replace("<|image_pad|>", "<|picture|>"))
    with pytest.raises(ValueError, match=r"the tokenizer's <\|image_pad\|> is not the config's"):
        models.load(str(checkpoint))


def test_the_fingerprint_of_a_path_follows_its_weights(
    project: Path, checkpoint: Path, tiny_model: LoadedModel
) -> None:
    """A cache by path alone gives another model's answers (lm-eval#4063)."""
    before = models.fingerprint(str(checkpoint), revision="")
    assert before == models.fingerprint(str(checkpoint), revision="")
    changed = models.load(str(checkpoint))
    with torch.no_grad():
        changed.network.model.visual.patch_embed.proj.weight[0, 0, 0, 0, 0] += 1e-3
    models.save(changed, str(checkpoint))
    after = models.fingerprint(str(checkpoint), revision="")
    assert after != before
    (checkpoint / "tokenizer_config.json").write_text("{}")
    assert models.fingerprint(str(checkpoint), revision="") not in (before, after)


def test_the_fingerprint_of_a_hub_model_is_its_commit(project: Path) -> None:
    assert models.fingerprint("Qwen/Qwen2-VL-2B", revision="abc") == "Qwen/Qwen2-VL-2B@abc"


def test_a_folder_without_safetensors_has_no_fingerprint(tmp_path: Path) -> None:
    (tmp_path / "pytorch_model.bin").touch()
    with pytest.raises(FileNotFoundError, match="holds no safetensors weights"):
        models.weights_sha256(tmp_path)


def test_shards_of_weights_count_in_name_order(tmp_path: Path) -> None:
    for name, content in (("a", "1"), ("b", "2")):
        (tmp_path / f"{name}.safetensors").write_text(content)
    before = models.weights_sha256(tmp_path)
    (tmp_path / "a.safetensors").write_text("2")
    (tmp_path / "b.safetensors").write_text("1")
    assert models.weights_sha256(tmp_path) != before


@pytest.mark.parametrize("name", tiny.NAMES)
def test_a_saved_tokenizer_pads_on_the_left(name: str, tmp_path: Path) -> None:
    # A program that generates in batches padded ours on the right and changed 12 of 16 replies.
    model = models.load(name)
    models.save(model, str(tmp_path))
    assert model.tokenizer.padding_side == "right"
    saved = AutoTokenizer.from_pretrained(tmp_path)
    padded = saved(["yes", "plasma membrane of the cell"], padding=True)["attention_mask"]
    assert padded[0] == sorted(padded[0])
    assert padded[0][0] == 0
    assert models.load(str(tmp_path)).tokenizer.get_vocab() == model.tokenizer.get_vocab()
