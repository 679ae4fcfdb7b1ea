"""The text of a prompt around its images, and the tokens of texts."""

import functools

import numpy as np
from transformers import PreTrainedTokenizerBase

from medres.models import loaded
from medres.models.family import Family

SYSTEM_PROMPT = "You are a biomedical expert."


def parts(
    tokenizer: PreTrainedTokenizerBase, family: Family, question: str, n_images: int
) -> list[str]:
    """Return what a prompt has before its first image, between any two, and behind the last.

    Raises:
        ValueError: If the chat template does not place the images in front of the question, or
            leaves out the system prompt.
    """
    text, written = rendered(tokenizer, family, question, n_images), family.in_template
    before, *others = text.split(written)
    n_tokens = text.count(family.image_token)
    is_each = len(others) == n_images and n_tokens == n_images * written.count(family.image_token)
    # Some templates trim a text at its ends.
    if not is_each or question.strip() not in others[-1]:
        asked = "one image" if n_images == 1 else f"{n_images} images"
        raise ValueError(f"the chat template must place exactly {asked}, before the question")
    if SYSTEM_PROMPT not in before:
        raise ValueError("the chat template leaves out the system prompt; take another revision")
    return [before, *(family.after_image + each for each in others)]


@functools.lru_cache(maxsize=4096)
def rendered(
    tokenizer: PreTrainedTokenizerBase, family: Family, question: str, n_images: int
) -> str:
    """Return a prompt with its system prompt, as the chat template writes it."""
    return loaded.rendered(tokenizer, family, SYSTEM_PROMPT, question, n_images=n_images)


@functools.lru_cache(maxsize=65_536)
def token_ids(tokenizer: PreTrainedTokenizerBase, text: str) -> np.ndarray:
    """Return the tokens of a text; cached, since questions and options recur with every image."""
    ids = np.array(tokenizer.encode(text, add_special_tokens=False), dtype=np.int64)
    ids.flags.writeable = False
    return ids


def opening(tokenizer: PreTrainedTokenizerBase, text: str) -> np.ndarray:
    """Return the tokens that the tokenizer puts before a text: none, or Llama's <s>.

    Some chat templates write that token themselves.
    """
    begun = _opening_of_any(tokenizer)
    is_written = len(begun) and text.startswith(tokenizer.decode(begun))
    return begun[:0] if is_written else begun


@functools.lru_cache(maxsize=64)
def _opening_of_any(tokenizer: PreTrainedTokenizerBase) -> np.ndarray:
    return np.array(tokenizer.encode(""), dtype=np.int64)
