"""Tiny models with the architecture, tokens and files of the real ones.

Standard checkpoint folders with random weights, for the demo study and for tests. They are
loaded, trained and queried by the same code as a model of two billion parameters.
"""

import logging
import os
import shutil
import tempfile
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import PreTrainedTokenizerFast

from medres import files
from medres.models import families, family, tiny_sizes

NAME = "tiny-qwen2-vl"
NAMES = tuple(f"tiny-{model_type.replace('_', '-')}" for model_type in families.MODEL_TYPES)
SEED = 0
DIGESTS = ".digests.json"
"""File of a made model that holds the digest of each other file."""
# The tokenizer is byte-level, so it encodes any text; these sentences only decide which words
# become few tokens.
CORPUS = (
    "You are a biomedical expert.",
    "system user assistant",
    "Which organelle does the green protein label? Does this image show more than one cell?",
    "nucleus nucleoplasm nucleoli plasma membrane mitochondria microtubules vesicles golgi",
    "cytosol endoplasmic reticulum actin centrosome lysosome peroxisome nuclear speckles",
    "Is there a nodule in the lung? Is the heart enlarged? Is there fluid at the base?",
    "Is there a fracture? Is there a mass? Are there calcifications? Is there an opacity?",
    "What is the modality of the picture? yes no left right none present absent normal",
    "What is the specimen? core biopsy lumpectomy mastectomy lymph nodes alive dead",
    "What is the tumour stage? What is the histologic grade? grade 1 grade 2 grade 3 grade 4",
    "What is the margin status? free close involved not inked t1 t2 t3 t4 positive negative",
    "What is the histological type? ductal lobular mucinous What is the vital status?",
    "What is the progesterone receptor? What is the her2 status? What is the plane?",
    "Are the ventricles enlarged? Is there a bleed? Are there calcifications? Is this a ct?",
    "Is the liver enlarged? Is there a kidney mass? Are there kidney stones? Is this the brain?",
    "Is there pleural fluid? Are there lung nodules? Is this an axial plane? ct mri x-ray",
    "What organ is shown? axial frontal coronal transverse On which side is it abnormal?",
    "brain liver lungs lung heart kidney spleen kidneys colon chest abdomen head whole both",
    "Is necrosis present? Is inflammation present? Are the nuclei enlarged? gross microscopic",
    "Is haemorrhage present? Are nodules present? Is the surface granular? h&e trichrome",
    "What kind of image is this? What stain is used? Where is the haemorrhage?",
    "What modality is used? Which part of the body is this? What does this organ do?",
    "breathe digest think What is the largest organ? What disease is shown? sclerosis bleeding",
    "none cardiomegaly effusion nodules liver cancer kidney cancer kidney stones brain cancer",
    "Where is the abnormality? Does the picture contain the brain? Is the lung healthy?",
    "Which organ is abnormal? Which weighting is this?",
)


def _keep_digests(folder: Path) -> None:
    found = files.files_below(folder)
    files.synced(found)
    files.write_json(folder / DIGESTS, {path.name: files.sha256(path) for path in found})


def check(folder: Path) -> None:
    """Compare the files of a tiny model with what was written.

    Raises:
        ValueError: If one is damaged, saying what to do.
    """
    for name, sha256 in files.read_json(folder / DIGESTS).items():
        if not (folder / name).is_file() or files.sha256(folder / name) != sha256:
            raise ValueError(
                f"{folder / name} is damaged: its bytes are not those that were written; remove "
                f"{folder}, and it is made again"
            )


def make(folder: Path, name: str = NAME) -> Path:
    """Write the checkpoint folder of a tiny model unless it exists, and return it.

    Written to a temporary folder and renamed, so that it is never incomplete, whether the writer
    is killed or two write at the same time.

    Args:
        folder: Folder to write.
        name: One of `NAMES`.

    Raises:
        ValueError: If a file of what exists is damaged, saying what to do.
        OSError: If the folder cannot be written.
    """
    if (folder / "config.json").is_file():
        if not (folder / DIGESTS).is_file():  # made before digests were kept
            _keep_digests(folder)
        check(folder)
        return folder
    folder.parent.mkdir(parents=True, exist_ok=True)
    aside = Path(tempfile.mkdtemp(dir=folder.parent, prefix=f".{folder.name}-"))
    known = families.of(family_of(name))
    tokenizer = _tokenizer(
        known.tiny_tokens,
        known.tiny_template,
        end_of_text=known.tiny_end_of_text or known.end_of_turn,
    )
    if known.tiny_begins_with:
        family.begin_with(tokenizer, known.tiny_begins_with)
    ids = {token: tokenizer.convert_tokens_to_ids(token) for token in known.tiny_tokens}
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(SEED)
        network = known.tiny_network(known.tiny_config(_text_config(tokenizer), ids))
    disabled = logging.root.manager.disable
    # DeepSpeed, which is imported by this, would say so, with the time, on the page of a notebook.
    logging.disable(logging.WARNING)
    try:
        network.save_pretrained(aside)
        tokenizer.save_pretrained(aside)
        known.tiny_processor().save_pretrained(aside)
        _keep_digests(aside)
        os.replace(aside, folder)
    except SafetensorError as error:  # such as of a full disk
        raise OSError(f"{folder} cannot be written: {error}") from error
    except OSError:
        if not (folder / "config.json").is_file():
            raise
    finally:
        logging.disable(disabled)
        shutil.rmtree(aside, ignore_errors=True)
    return folder


def _tokenizer(
    special_tokens: tuple[str, ...], chat_template: str, *, end_of_text: str
) -> PreTrainedTokenizerFast:
    """Return a byte-level tokenizer; the first special token is the padding token."""
    backend = Tokenizer(models.BPE())
    backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    backend.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=768,
        min_frequency=1,
        show_progress=False,
        special_tokens=list(special_tokens),
        initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()),
    )
    sentences = [text for line in CORPUS for text in (line, f" {line}", line.lower())]
    backend.train_from_iterator(sentences, trainer)
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=backend,
        pad_token=special_tokens[0],
        eos_token=end_of_text,
        additional_special_tokens=list(special_tokens[1:]),
        clean_up_tokenization_spaces=False,
    )
    tokenizer.chat_template = chat_template
    return tokenizer


def family_of(name: str) -> str:
    """Return the `model_type` of a tiny model by its name."""
    return dict(zip(NAMES, families.MODEL_TYPES, strict=True))[name]


def _text_config(tokenizer: PreTrainedTokenizerFast) -> dict[str, Any]:
    """Return the language model's config, the same for all tiny models, with a tokenizer's ids."""
    return tiny_sizes.TEXT | {
        "vocab_size": len(tokenizer),
        "bos_token_id": tokenizer.bos_token_id,
        "eos_token_id": tokenizer.eos_token_id,
        "pad_token_id": tokenizer.pad_token_id,
    }
