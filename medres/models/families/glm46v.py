"""GLM-4.6V: GLM-4.1V's network under another name."""

from transformers import Glm46VConfig

from medres.models.families import glm4v


class Glm46V(glm4v.Glm4v):
    """GLM-4.6V."""

    network = "Glm46VForConditionalGeneration"
    processor = "Glm46VImageProcessorPil"
    config = Glm46VConfig


FAMILY = Glm46V()
