#!/usr/bin/env bash
# 1. Seen with xllamacpp 2026.10.11549 (llama.cpp's own server of October 2026, as a wheel), gguf 0.19.0, numpy 2.4.6, Python 3.11.
# 2. With logprobs a chat completion has an entry for every token only where each token is a whole character. A character of several tokens has one
#    entry, with its text and the log-probability of its last token alone; a reply that is cut within a character has none for its first
#    tokens, and if it is no longer than that there is no field "logprobs". completion_tokens counts them all; nothing says that some are missing.
# 3. One would expect one entry for each token: each has a field "bytes" for this very case.
# 4. Confidence of answers in Chinese (SLAKE has them) or with "°" or "µ", in byte-level vocabularies such as Qwen's where rarer characters are
#    two or three tokens: the sum over the entries, taken as the log-probability of the answer, lacks most of its terms and makes such options
#    look likelier; the first token read with max_tokens 1 has no log-probability.
# 5. Seen on 2026-11-29:
#      "y", 1 token:                     completion_tokens 1, entries 1
#      first byte of 左 (left), 1 token: completion_tokens 1, entries 0, has logprobs: False
#      first two bytes, 2 tokens:        completion_tokens 2, entries 0, has logprobs: False
#      the whole of 左, 3 tokens:        completion_tokens 3, entries 1: 左 with the id of its last byte: True
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet xllamacpp==2026.10.11549 gguf==0.19.0 numpy==2.4.6
cd "$folder"
"$folder/venv/bin/python" - <<'PYTHON' 2>"$folder/log" || { tail -20 "$folder/log" >&2; exit 1; }
import gguf
import numpy as np
import xllamacpp

WIDTH = 64
random = np.random.default_rng(0)


def weights(*shape):
    return random.normal(0, 0.3, shape).astype(np.float32)


# A vocabulary of bytes: printable ones stand for themselves, the others for the characters from 256 on.
kept = [*range(33, 127), *range(161, 173), *range(174, 256)]
others = [byte for byte in range(256) if byte not in kept]
sign_of = {byte: chr(byte) for byte in kept} | {byte: chr(256 + index) for index, byte in enumerate(others)}
tokens = ["<eos>", *(sign_of[byte] for byte in range(256))]
text = gguf.GGUFWriter("text.gguf", "llama")
text.add_block_count(1)
text.add_context_length(512)
text.add_embedding_length(WIDTH)
text.add_feed_forward_length(WIDTH)
text.add_head_count(2)
text.add_head_count_kv(2)
text.add_layer_norm_rms_eps(1e-6)
text.add_rope_dimension_count(32)
text.add_tokenizer_model("gpt2")
text.add_tokenizer_pre("qwen2")
text.add_token_list(tokens)
text.add_token_types([3] + [1] * 256)
text.add_token_merges(["a b"])
text.add_bos_token_id(0)
text.add_eos_token_id(0)
text.add_chat_template("{% for message in messages %}{{ message.content }}{% endfor %}")
text.add_tensor("token_embd.weight", weights(len(tokens), WIDTH))
text.add_tensor("output_norm.weight", np.ones(WIDTH, np.float32))
for name in ("attn_norm", "ffn_norm"):
    text.add_tensor(f"blk.0.{name}.weight", np.ones(WIDTH, np.float32))
for name in ("attn_q", "attn_k", "attn_v", "attn_output", "ffn_gate", "ffn_up", "ffn_down"):
    text.add_tensor(f"blk.0.{name}.weight", weights(WIDTH, WIDTH))
text.write_header_to_file()
text.write_kv_data_to_file()
text.write_tensors_to_file()
text.close()

settings = xllamacpp.CommonParams()
settings.model.path = "text.gguf"
settings.n_ctx, settings.n_parallel, settings.warmup, settings.port = 512, 1, False, 0
server = xllamacpp.Server(settings)


def asked(reply, n_tokens):
    """Number of tokens and entries of a reply that a grammar fixes; None for these if there is no such field."""
    said = server.handle_chat_completions(
        {
            "messages": [{"role": "user", "content": "Which side?"}],
            "max_tokens": n_tokens,
            "temperature": 0,
            "grammar": f'root ::= "{reply}"',
            "logprobs": True,
            "top_logprobs": 1,
        }
    )
    found = said["choices"][0].get("logprobs")
    return said["usage"]["completion_tokens"], found and found["content"]


n_letter, letter = asked("y", 1)
n_first, first = asked("左", 1)
n_second, second = asked("左", 2)
n_whole, whole = asked("左", 3)
last_byte = tokens.index(sign_of["左".encode()[-1]])
is_last = whole[0]["id"] == last_byte
print(f'"y", 1 token:                     completion_tokens {n_letter}, entries {len(letter)}')
print(f"first byte of 左 (left), 1 token: completion_tokens {n_first}, entries {len(first or [])}, has logprobs: {first is not None}")
print(f"first two bytes, 2 tokens:        completion_tokens {n_second}, entries {len(second or [])}, has logprobs: {second is not None}")
print(f"the whole of 左, 3 tokens:        completion_tokens {n_whole}, entries {len(whole)}: {whole[0]['token']} with the id of its last byte: {is_last}")
assert (n_letter, n_first, n_second, n_whole) == (1, 1, 2, 3)
assert len(letter) == 1 and first is None and second is None
assert len(whole) == 1 and whole[0]["token"] == "左" and is_last
PYTHON
