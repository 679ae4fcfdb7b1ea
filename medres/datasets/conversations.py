"""Whether the models of a study can be asked the questions of a data set, before any is trained.

No text may hold a token that a model keeps for itself, and no conversation may be longer than the
model's maximum at any resolution at which the study trains or evaluates. Config and tokenizer are
read for that, never weights.
"""

import re
import unicodedata
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from medres import resolution, trained_at
from medres.datasets import parts, rows, spacing
from medres.study import TREATMENT, Study

if TYPE_CHECKING:
    from medres.models import LoadedModel

Asked = Mapping[str, Mapping[str, Any]]
"""By model: revision, the parameters of `study.TREATMENT`, and the resolutions trained and
asked."""
MOST_BYTES_GROWN = 12
"""Factor by which Unicode's normal forms lengthen a text at most, in bytes."""
SLACK_TOKENS = 16
"""Added to every bound, for what a tokenizer puts around a text."""


def asked_of(study: Study, dataset: str) -> dict[str, dict[str, Any]]:
    """Return what a study asks each of its models with about a data set, as JSON."""
    found: dict[str, dict[str, Any]] = {}
    for model in study.models:
        trained, asked = (
            [cell for cell in study.cells(stage) if (cell.dataset, cell.model) == (dataset, model)]
            for stage in ("finetune", "evaluate")
        )
        settings = study.settings(asked[0])
        found[model] = {name: settings[name] for name in ("revision", *TREATMENT)} | {
            "trained": _kinds(cell.train_resolution for cell in trained),
            "asked": _kinds(settings["eval_resolutions"]),
        }
    return found


def _kinds(names: Iterable[str]) -> list[str]:
    """Return resolutions in order, low and native for mixed, which is drawn from them."""
    return sorted({each for name in names for each in trained_at.shares(name, low_share=0.5)})


@dataclass(frozen=True)
class _Texts:
    """The different texts of a table, and which rows have them."""

    table: pd.DataFrame
    codes: dict[str, np.ndarray]
    """For question, reference and options the place of each row's, shape (n_rows,)."""
    questions: list[str]
    references: list[str]
    options: list[tuple[str, ...]]

    @staticmethod
    def of(table: pd.DataFrame) -> "_Texts":
        """Return those of a table with the columns question, reference and options."""
        question, questions = rows.texts(table["question"])
        reference, references = rows.texts(table["reference"])
        listed, options = rows.lists(table["options"])
        codes = {"question": question, "reference": reference, "options": listed}
        return _Texts(table, codes, questions, references, options)


def check(source: str, table: pd.DataFrame, facts: pd.DataFrame, asked: Asked) -> list[str]:
    """Refuse questions that a model cannot be asked; return what could not be checked.

    Args:
        source: Where the table is from, for the error message.
        table: Valid questions; an index named line or row gives the user's own numbers.
        facts: One row an image: image, width_px, height_px, mpp_um.
        asked: As from `asked_of`; a model that is not at hand is left to its training to check.

    Raises:
        ValueError: With the first row that holds a reserved token, is too long, whose image is too
            small to be cut, or whose image states no microns per pixel where a resolution needs
            them.
    """
    trained = sorted({each for settings in asked.values() for each in settings["trained"]})
    if trained and not (table["split"] == "train").any():
        raise ValueError(
            f"{source} has no training question, but the study trains at {', '.join(trained)}; "
            "lower its `test_share`, or ask untrained models alone (`train_resolutions: [none]`)"
        )
    parts.check(source, table, facts, asked)
    said = spacing.check(source, table, facts, asked)
    if not asked:
        return []
    # Takes seconds, and nothing else here needs transformers.
    from medres import models
    from medres.models import places, served, without_weights

    texts, left = _Texts.of(table), said
    for name, settings in asked.items():
        try:
            place, revision = name, settings["revision"]
            if served.is_served(name):
                # By the model that it is like, if that lies here: nothing is fetched for it.
                place, revision = places.locate(served.parse(name).like), ""
            model = without_weights.load(place, revision=revision, tiling=settings["tiling"])
            treatment = models.treatment(
                model.config, **{each: settings[each] for each in models.TREATMENT}
            )
        except (OSError, ValueError, KeyError) as error:
            reason = " ".join(str(error).split())
            if served.is_served(name):
                reason = "no tokenizer of a model like it is on this machine; its server refuses "
                reason += "what is too long"
            left.append(f"texts and lengths are not checked for model {name}: {reason}")
            continue
        _refuse_reserved(source, texts, name, without_weights.reserved(model.tokenizer), model)
        _refuse_long(source, texts, facts, name, settings, model, treatment)
    return left


def _refuse_reserved(
    source: str, texts: _Texts, name: str, reserved: Mapping[str, int], model: "LoadedModel"
) -> None:
    """Refuse texts that a tokenizer takes apart into tokens which it keeps for itself."""
    if not reserved:
        return
    # Whether it does so is its own to say: it may fold case or width first.
    longest_first = sorted(reserved, key=len, reverse=True)
    maybe = re.compile("|".join(map(re.escape, longest_first)), re.IGNORECASE)
    by_id = {number: token for token, number in reserved.items()}

    def held(text: str) -> str:
        plain = text if text.isascii() else f"{text}\n{unicodedata.normalize('NFKC', text)}"
        if not maybe.search(plain):
            return ""
        ids = model.tokenizer.encode(text, add_special_tokens=False)
        return next((by_id[each] for each in ids if each in by_id), "")

    for column, known in (("question", texts.questions), ("reference", texts.references)):
        _refuse_held(source, texts, name, column, [held(text) for text in known])
    seen: dict[str, str] = {}
    in_options = []
    for each in texts.options:
        for text in each:
            if text not in seen:
                seen[text] = held(text)
        in_options.append(next((seen[text] for text in each if seen[text]), ""))
    _refuse_held(source, texts, name, "options", in_options)


def _refuse_held(source: str, texts: _Texts, name: str, column: str, tokens: Sequence[str]) -> None:
    is_held = np.array([bool(token) for token in tokens], dtype=bool)[texts.codes[column]]
    if not is_held.any():
        return
    token = tokens[texts.codes[column][np.flatnonzero(is_held)[0]]]
    rows.refuse(
        is_held,
        texts.table,
        source,
        f"{token!r}, which model {name} keeps for itself, in its {column}",
        value=column,
        remedy="write it otherwise",
    )


def _refuse_long(
    source: str,
    texts: _Texts,
    facts: pd.DataFrame,
    name: str,
    settings: Mapping[str, Any],
    model: "LoadedModel",
    treatment: resolution.Treatment,
) -> None:
    """Refuse conversations longer than a model's maximum."""
    from medres.models import conversation

    table, codes = texts.table, texts.codes
    is_train = (table["split"] == "train").to_numpy()
    sizes, size_of = np.unique(
        np.column_stack([facts[["width_px", "height_px"]], spacing.of_facts(facts).fillna(0)]),
        axis=0,
        return_inverse=True,
    )
    images = pd.Index(facts["image"]).get_indexer(table["image"])
    n_visual = np.zeros(len(table), dtype=np.int64)
    tokens = partial(_image_tokens, model=model)
    for side, names in ((is_train, settings["trained"]), (~is_train, settings["asked"])):
        plans = [
            [
                resolution.plan((int(w), int(h)), each, treatment, mpp_um=um or None)
                for each in names
            ]
            for w, h, um in sizes
        ]
        most = np.array(
            [max((tokens(each) for each in planned), default=-1) for planned in plans],
            dtype=np.int64,
        )
        n_visual[side] = most[size_of.ravel()][images[side]]
    is_asked = n_visual >= 0
    before, after = conversation.prompt_lengths(model, "?")
    about = before + 4 * after + SLACK_TOKENS
    bounds = {
        "question": np.array([_most_tokens(text) for text in texts.questions]),
        "reference": np.array([_most_tokens(text) for text in texts.references]),
        "options": np.array([max(map(_most_tokens, each), default=0) for each in texts.options]),
    }
    reply = np.where(
        is_train, bounds["reference"][codes["reference"]], bounds["options"][codes["options"]]
    )
    most_tokens = about + n_visual + bounds["question"][codes["question"]] + reply
    is_long = np.zeros(len(table), dtype=bool)
    n_tokens = 0
    for place in np.flatnonzero(is_asked & (most_tokens > model.max_length)):
        before, after = conversation.prompt_lengths(
            model, texts.questions[codes["question"][place]]
        )
        replies: Sequence[str] = texts.options[codes["options"][place]]
        if is_train[place]:
            replies = [texts.references[codes["reference"][place]]]
        longest = max((conversation.reply_length(model, each) for each in replies), default=0)
        n_needed = int(n_visual[place]) + before + after + longest
        is_long[place] = n_needed > model.max_length
        n_tokens = n_tokens or n_needed * int(is_long[place])
    rows.refuse(
        is_long,
        table,
        source,
        f"a conversation of {n_tokens:,} tokens, {model.max_length:,} being the most of model "
        f"{name},",
        remedy="lower low_max_pixels or native_max_pixels, or shorten question, answer or options",
    )


def _image_tokens(geometry: resolution.Geometry, model: "LoadedModel") -> int:
    """Return the tokens of an image in a prompt, with marks of rows and tiles, and its words."""
    marks = geometry.layout.mark_tokens if geometry.layout else 0
    told = f"{geometry.words}\n" if geometry.words else ""
    words = len(model.tokenizer.encode(told, add_special_tokens=False)) if told else 0
    return geometry.visual_tokens + marks + words


def _most_tokens(text: str) -> int:
    """Return a bound of a text's tokens: one a byte, after any normal form of Unicode."""
    return len(text) if text.isascii() else MOST_BYTES_GROWN * len(text.encode())
