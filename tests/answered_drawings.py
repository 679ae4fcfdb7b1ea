"""A data set of drawn images with answers as inference records them, without a model's answers."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd
from PIL import Image

from medres import resolution
from medres.datasets import QuestionSet
from medres.inference import asking
from medres.resolution import Treatment

TREATMENT = Treatment(784, 12_544, "bicubic", 28)
"""Low is one token; native at most 112 x 112 px."""
ARMS = (("none", 0), ("low", 0), ("native", 0))
RESOLUTIONS = ("low", "native", "upsampled-bicubic", "upsampled-nearest", "blank")


def drawn(
    folder: Path, questions: Sequence[dict[str, object]], *, treatment: Treatment = TREATMENT
) -> tuple[QuestionSet, pd.DataFrame]:
    """Return a data set and the answers of some trainings, `low` right and the others wrong.

    Args:
        folder: Where the images are drawn.
        questions: Of each its image, size_px, question, reference and options; id and reply are
            made up unless given.
        treatment: Says what each resolution is.
    """
    rows = []
    for number, question in enumerate(questions):
        width, height = question["size_px"]
        options = question["options"]
        if not (folder / question["image"]).exists():
            pixels = np.random.default_rng(number).integers(0, 256, (height, width, 3), np.uint8)
            Image.fromarray(pixels).save(folder / question["image"])
        for name in RESOLUTIONS:
            geometry = resolution.plan((width, height), name, treatment)
            for trained, seed in ARMS:
                right = trained == "low"
                wrong = next((each for each in options if each != question["reference"]), "?")
                reply = question.get("reply", question["reference"] if right else wrong)
                rows.append(
                    {
                        "question_id": f"q{number}",
                        "dataset": "drawn",
                        "model": "tiny",
                        "modality": "drawing",
                        "group": question["image"],
                        "split": "test",
                        **{key: question[key] for key in ("image", "question", "reference")},
                        "options": list(options),
                        "width_px": width,
                        "height_px": height,
                        "train_resolution": trained,
                        "seed": seed,
                        "eval_resolution": name,
                        "reply": reply,
                        "correct": reply == question["reference"],
                        "option_log_probabilities": [
                            0.0 if each == reply else -1.0 for each in options
                        ],
                        "given_width_px": geometry.given_px[0],
                        "given_height_px": geometry.given_px[1],
                        "resampling": asking._resampling(geometry),
                        "visual_tokens": geometry.visual_tokens,
                        "is_capped": geometry.is_capped,
                        "is_enlarged": geometry.is_enlarged,
                    }
                )
    table = pd.DataFrame(rows)
    asked = table.drop_duplicates("question_id")
    return QuestionSet("drawn", asked.reset_index(drop=True), folder, fingerprint=""), table
