"""Which resolution should be used? From a table of questions and a model to a study and a verdict.

`python -m medres.choose TABLE MODEL`, which is `make choose`, writes a study of its own and makes
it; `prepared` does the same in a notebook, without the pages.
"""

import inspect
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from medres import datasets, inference, texts
from medres import study as studies
from medres.choose import asked as asked_for
from medres.choose import written
from medres.choose.asked import Asked
from medres.plan import contents, ladder
from medres.plan.contents import Described
from medres.plan.ladder import Ladder
from medres.resolution import Treatment
from medres.study import Study


@dataclass(frozen=True)
class Ready:
    """A study that is written, with its questions prepared; nothing is asked yet."""

    asked: Asked
    study: Study
    ladder: Ladder
    holds: Described
    treatment: Treatment

    @property
    def settings(self) -> dict[str, Any]:
        """All parameters of its evaluation."""
        return self.study.settings(self.study.cells("evaluate")[0])


def ready(
    asked: Asked,
    *,
    rungs: Sequence[str] = (),
    page: Mapping[str, float] | None = None,
    settings: Mapping[str, Any] | None = None,
) -> Ready:
    """Write the study of a table and a model, and prepare its questions.

    Says what an earlier call had otherwise, what is left out, and which rungs are the same.

    Args:
        asked: As from `asked.find`.
        rungs: Eval resolutions that the user wants; none are found from the images.
        page: Parameters of the page that are stated, as in `written.PAGE`.
        settings: Parameters of the evaluation that are stated.

    Raises:
        FileNotFoundError: If a file or a training is missing.
        ValueError: If the table, the model or a rung cannot be used; or if all rungs are the same.
    """
    treatment = asked_for.treatment_of(asked, written.evaluation(asked, None, settings or {}))
    ladder.check(rungs, treatment)
    _say_changes(written.write(asked, None, page or {}, settings or {}))
    study = studies.load(asked.study)
    parameters = study.datasets[asked.dataset]
    texts.say(f"medres: reading {asked.table} and its images")
    datasets.prepare(asked.study, asked.dataset, parameters)
    question_set = datasets.load(asked.study, asked.dataset)
    for what, lines in (("left out", question_set.excluded), ("note", question_set.notes)):
        for line in lines:
            texts.say(f"medres: {asked.table}: {what}: {line}")
    holds = contents.describe(asked.study, asked.dataset, parameters)
    found = ladder.build(holds.test.images, treatment, asked=rungs)
    for line in found.merged:
        texts.say(f"medres: {line}")
    if len(set(rungs)) == 1:
        raise ValueError(f"the ladder has one size, {rungs[0]}; give two or more")
    if len(found.rungs) < 2:
        raise ValueError(
            f"{asked.table}: all sizes are the same to model {texts.named(asked.model)}, of which "
            f"{found.rungs[0]} is one: there is nothing to choose; ask for others, for example "
            "LADDER='native scale-2 scale-4'"
        )
    _say_changes(written.write(asked, found, page or {}, settings or {}))
    study = studies.load(asked.study)
    # Texts and lengths, before a model is loaded.
    models = datasets.asked_of(study, asked.dataset)
    datasets.prepare(asked.study, asked.dataset, parameters, models=models)
    texts.say(
        f"medres: {len(question_set.table):,} questions about "
        f"{question_set.table['image'].nunique():,} images of "
        f"{question_set.table['group'].nunique():,} groups, each at {', '.join(found.rungs)}, "
        "and without its image (blank)"
    )
    for line in studies.too_few_groups(study):
        texts.say(f"medres: {line}; whatever is answered, nothing can be decided")
    return Ready(asked, study, found, holds, treatment)


def prepared(
    *,
    table: str,
    model: str,
    name: str = "",
    revision: str = "",
    rungs: Sequence[str] = (),
    **page: float,
) -> str:
    """Return the study of a table and a model, written and answered; for a notebook.

    What is answered is kept: after an interruption the same call goes on. Pages are not made.

    Args:
        table: Path of the questions, from where the notebook stands or from the project folder.
        model: As in `asked.find`.
        name: Of the study; empty takes one from table and model.
        revision: Commit of a Hub model.
        rungs: Eval resolutions; none are found from the images.
        page: As in `written.PAGE`; what is not stated stays as it was.

    Raises:
        FileNotFoundError: As `ready`.
        ValueError: As `ready`.
    """
    asked = asked_for.find(table, model, name=name, revision=revision)
    study = ready(asked, rungs=rungs, page=page).study
    taken = inspect.signature(inference.evaluate).parameters
    for cell in study.cells("evaluate"):
        settings = study.settings(cell)
        inference.evaluate(**{key: value for key, value in settings.items() if key in taken})
    texts.say(f"medres: all answers of study {study.name} are there")
    return study.name


def _say_changes(changes: Sequence[str]) -> None:
    for line in changes:
        texts.say(f"medres: {line}")
