"""Idefics3: SmolVLM's tiles with larger models."""

from transformers import Idefics3Config

from medres.models.families import smolvlm


class Idefics3(smolvlm.SmolVLM):
    """Idefics3."""

    network = "Idefics3ForConditionalGeneration"
    processor = "Idefics3ImageProcessorPil"
    config = Idefics3Config


FAMILY = Idefics3()
