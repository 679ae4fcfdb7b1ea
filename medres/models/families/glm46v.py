"""GLM-4.6V: GLM-4.1V's network under another name."""

from transformers import Glm46VConfig, Glm46VImageProcessorPil

from medres.models import tiny_sizes
from medres.models.families import glm4v


class Glm46V(glm4v.Glm4v):
    """GLM-4.6V."""

    network = "Glm46VForConditionalGeneration"
    processor = "Glm46VImageProcessorPil"
    config = Glm46VConfig

    def tiny_processor(self) -> Glm46VImageProcessorPil:
        """Return the image processor of the tiny model."""
        return Glm46VImageProcessorPil(
            size={"shortest_edge": 2 * self.min_pixels, "longest_edge": 2 * self.max_pixels},
            **tiny_sizes.NORMALISED,
        )


FAMILY = Glm46V()
