#!/usr/bin/env bash
# 1. Seen with xllamacpp 2026.10.11549 (llama.cpp's own server and image code of October 2026, as a wheel), gguf 0.19.0, Pillow 13.0.0,
#    numpy 2.4.6, transformers 5.23.0 (its image processor alone), Python 3.11.
# 2. llama.cpp fits an image that is not square into Gemma 3's square with black bars (letterbox, shape kept). Nothing in the reply says
#    so, and the number of tokens is the same. (Qwen2-VL gets bars as well where a side is not a multiple of 28 pixels; not shown here.)
# 3. One would expect what the model was trained with and what transformers does: Gemma3ImageProcessor stretches every image to the square.
# 4. MedGemma or Gemma 3 in llama.cpp, and in programs built on it: a chest radiograph of 2048 x 2500 pixels arrives as 735 x 896 between two black
#    bars, 18 % fewer pixels in its width and another shape than under transformers, so that scores of the same weights differ.
#    An image that the sender has already stretched to 896 x 896 arrives as it is.
# 5. Seen on 2026-11-29 (log-probabilities of the next token; the largest difference over the vocabulary, random weights):
#      image of 2048 x 2500 against itself again            0.0000
#      against the same stretched to 896 x 896              0.5702
#      against the same letterboxed in black to 896 x 896   0.0000
#      tokens of the three prompts                          [260, 260, 260]
#      transformers: equal to stretched True, to letterboxed False
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet xllamacpp==2026.10.11549 gguf==0.19.0 pillow==13.0.0 numpy==2.4.6 transformers==5.23.0
cd "$folder"
HF_HUB_OFFLINE=1 "$folder/venv/bin/python" - <<'PYTHON' 2>"$folder/log" || { tail -20 "$folder/log" >&2; exit 1; }
import base64
import io

import gguf
import numpy as np
import xllamacpp
from PIL import Image
from transformers.models.gemma3.image_processing_pil_gemma3 import Gemma3ImageProcessorPil

SIDE, PATCH, WIDTH, HEAD = 896, 14, 64, 32  # Gemma 3's square and patches; a tower and a language model of one narrow layer each
random = np.random.default_rng(0)


def weights(*shape):
    return random.normal(0, 0.3, shape).astype(np.float32)


def byte_tokens():
    """The 256 tokens of a byte-level vocabulary: printable bytes stand for themselves, the others for 256 onwards."""
    kept = [*range(33, 127), *range(161, 173), *range(174, 256)]
    return [chr(b) for b in kept] + [chr(256 + n) for n in range(256 - len(kept))]


tokens = ["<pad>", "<eos>", "<bos>", "<start_of_image>", "<end_of_image>", *byte_tokens()]
text = gguf.GGUFWriter("text.gguf", "gemma3")
text.add_block_count(1)
text.add_context_length(4096)
text.add_embedding_length(WIDTH)
text.add_feed_forward_length(WIDTH)
text.add_head_count(2)
text.add_head_count_kv(2)
text.add_key_length(HEAD)
text.add_value_length(HEAD)
text.add_layer_norm_rms_eps(1e-6)
text.add_rope_freq_base(1e6)
text.add_sliding_window(4096)
text.add_tokenizer_model("gpt2")
text.add_tokenizer_pre("qwen2")
text.add_token_list(tokens)
text.add_token_types([3] * 5 + [1] * 256)
text.add_token_merges(["a b"])
text.add_bos_token_id(2)
text.add_eos_token_id(1)
text.add_pad_token_id(0)
text.add_chat_template("{% for message in messages %}{{ message.content }}{% endfor %}?")
text.add_tensor("token_embd.weight", weights(len(tokens), WIDTH))
text.add_tensor("output_norm.weight", np.ones(WIDTH, np.float32))
for name in ("attn_norm", "ffn_norm", "post_attention_norm", "post_ffw_norm"):
    text.add_tensor(f"blk.0.{name}.weight", np.ones(WIDTH, np.float32))
for name in ("attn_q_norm", "attn_k_norm"):
    text.add_tensor(f"blk.0.{name}.weight", np.ones(HEAD, np.float32))
for name in ("attn_q", "attn_k", "attn_v", "attn_output", "ffn_gate", "ffn_up", "ffn_down"):
    text.add_tensor(f"blk.0.{name}.weight", weights(WIDTH, WIDTH))

vision = gguf.GGUFWriter("vision.gguf", "clip")
vision.add_string("general.type", "mmproj")
vision.add_clip_has_vision_encoder(True)
vision.add_clip_projector_type("gemma3")
vision.add_vision_projection_dim(WIDTH)
vision.add_vision_image_size(SIDE)
vision.add_vision_patch_size(PATCH)
vision.add_vision_embedding_length(WIDTH)
vision.add_vision_feed_forward_length(WIDTH)
vision.add_vision_block_count(1)
vision.add_vision_head_count(2)
vision.add_vision_image_mean([0.5, 0.5, 0.5])
vision.add_vision_image_std([0.5, 0.5, 0.5])
vision.add_vision_attention_layernorm_eps(1e-6)
vision.add_vision_use_gelu(True)
vision.add_tensor("v.patch_embd.weight", weights(WIDTH, 3, PATCH, PATCH))
vision.add_tensor("v.patch_embd.bias", weights(WIDTH))
vision.add_tensor("v.position_embd.weight", weights((SIDE // PATCH) ** 2, WIDTH))
vision.add_tensor("mm.input_projection.weight", weights(WIDTH, WIDTH))
vision.add_tensor("mm.soft_emb_norm.weight", np.ones(WIDTH, np.float32))
for name in ("v.blk.0.ln1", "v.blk.0.ln2", "v.post_ln"):
    vision.add_tensor(f"{name}.weight", np.ones(WIDTH, np.float32))
    vision.add_tensor(f"{name}.bias", np.zeros(WIDTH, np.float32))
for name in ("attn_q", "attn_k", "attn_v", "attn_out", "ffn_up", "ffn_down"):
    vision.add_tensor(f"v.blk.0.{name}.weight", weights(WIDTH, WIDTH))
    vision.add_tensor(f"v.blk.0.{name}.bias", np.zeros(WIDTH, np.float32))
for writer in (text, vision):
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()

settings = xllamacpp.CommonParams()
settings.model.path, settings.mmproj.path = "text.gguf", "vision.gguf"
settings.n_ctx, settings.n_parallel, settings.warmup, settings.port = 2048, 1, False, 0
server = xllamacpp.Server(settings)


def asked(image):
    """Log-probabilities of the next token over the whole vocabulary, and the prompt's number of tokens."""
    stream = io.BytesIO()
    image.save(stream, "PNG")
    url = "data:image/png;base64," + base64.b64encode(stream.getvalue()).decode()
    content = [{"type": "image_url", "image_url": {"url": url}}, {"type": "text", "text": "A"}]
    reply = server.handle_chat_completions(
        {
            "messages": [{"role": "user", "content": content}],
            "max_tokens": 1,
            "temperature": 0,
            "grammar": 'root ::= "y" | "n"',  # the first token is a letter; the log-probabilities are those before the grammar
            "logprobs": True,
            "top_logprobs": len(tokens),
        }
    )
    listed = reply["choices"][0]["logprobs"]["content"][0]["top_logprobs"]
    values = np.full(len(tokens), np.nan)
    for entry in listed:
        values[entry["id"]] = entry["logprob"]
    return values, reply["usage"]["prompt_tokens"]


radiograph = Image.fromarray(random.integers(60, 256, (25, 20, 3), dtype=np.uint8)).resize((2048, 2500), Image.Resampling.BICUBIC)
stretched = radiograph.resize((SIDE, SIDE), Image.Resampling.BILINEAR)
width = -(-2048 * SIDE // 2500)
letterboxed = Image.new("RGB", (SIDE, SIDE))
letterboxed.paste(radiograph.resize((width, SIDE), Image.Resampling.BILINEAR), ((SIDE - width) // 2, 0))

(whole, n_tokens), (again, _) = asked(radiograph), asked(radiograph)
(by_stretching, n_stretched), (by_bars, n_bars) = asked(stretched), asked(letterboxed)
differences = [float(np.nanmax(np.abs(whole - other))) for other in (again, by_stretching, by_bars)]
print(f"image of 2048 x 2500 against itself again            {differences[0]:.4f}")
print(f"against the same stretched to 896 x 896              {differences[1]:.4f}")
print(f"against the same letterboxed in black to 896 x 896   {differences[2]:.4f}")
print(f"tokens of the three prompts                          {[n_tokens, n_stretched, n_bars]}")
processor = Gemma3ImageProcessorPil(size={"height": SIDE, "width": SIDE})
made = [np.asarray(processor(images=[image], return_tensors="np")["pixel_values"])[0] for image in (radiograph, stretched, letterboxed)]
same = [bool(np.allclose(made[0], other, atol=1e-6)) for other in made[1:]]
print(f"transformers: equal to stretched {same[0]}, to letterboxed {same[1]}")
assert differences[0] < 1e-4 and differences[2] < 1e-4 and differences[1] > 0.01
assert n_tokens == n_stretched == n_bars
assert same == [True, False]
PYTHON
