"""The models of a study whose operations can be counted, on the questions of each data set."""

from dataclasses import dataclass

from medres import datasets, texts
from medres import study as studies
from medres.models import flops, offline, served
from medres.models.flops import ModelShape
from medres.plan import contents
from medres.resolution import Geometry, Treatment
from medres.study import Study


@dataclass(frozen=True)
class Counted:
    """What the operations of a question of a data set follow from."""

    shape: ModelShape
    treatment: Treatment
    text_tokens: int
    """Of a question alone, with prompt and replies."""
    per_token: float
    """Characters."""

    def pass_flops(self, geometry: Geometry, *, more_text: str = "") -> int:
        """Return the operations of one pass about an image, with what is said of its views."""
        marks = geometry.layout.mark_tokens if geometry.layout else 0
        more = round(len(geometry.words + more_text) / self.per_token)
        text_tokens = self.text_tokens + marks + more
        return flops.forward_flops(self.shape, text_tokens=text_tokens, **flops.of_image(geometry))


def of_study(study: Study) -> dict[tuple[str, str], Counted]:
    """Return what is known, by the label of a data set and the name of a model.

    Models whose config is not at hand are left out, and served ones of unknown kind.
    """
    found = {}
    meaning = studies.treatment(study)
    for dataset, parameters in study.datasets.items():
        side = contents.describe(study.name, dataset, parameters).test
        label = datasets.load(study.name, dataset).label
        for model in study.models:
            if not offline.is_at_hand(model) or served.is_plain(model):
                continue
            per_token = offline.characters_per_token(model, side.texts)
            found[label, texts.named(model)] = Counted(
                offline.sizes_of(offline.config_of(model)).shape,
                offline.treatment_of(model, meaning),
                side.text_tokens(1, per_token),
                per_token,
            )
    return found
