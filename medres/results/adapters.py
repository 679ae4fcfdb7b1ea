"""Full fine-tuning compared with low-rank adapters: two studies of the same cells, combined."""

import pandas as pd

from medres import runs
from medres.published.claims import Claim
from medres.results import grids
from medres.results.grids import CELL
from medres.study import Study
from medres.texts import named

BY_ADAPTERS = " (LoRA)"
"""Follows the train resolution of a model that was trained with adapters."""
FAMILY = "LoRA against full fine-tuning"
COSTS = (
    "n_steps mean_visual_tokens training_flops n_trained_weights n_processes peak_memory_bytes "
    "final_loss"
).split()
"""Of a training's record; not its seconds, which no two runs of it share."""


def claims() -> tuple[Claim, ...]:
    """Return the paper's claim on adapters, and the same for aligned and mixed training."""
    pairs = [("native", "low"), ("low", "low"), ("native", "native"), ("mixed", "native")]
    return tuple(
        Claim(
            "C15" if number == 0 else f"C15, {trained} to {asked}",
            f"Trained at {trained} and evaluated at {asked}, adapters fall short of full "
            "fine-tuning",
            (trained, asked),
            (trained + BY_ADAPTERS, asked),
            -1,
            FAMILY,
        )
        for number, (trained, asked) in enumerate(pairs)
    )


def answers(full: Study, adapted: Study) -> pd.DataFrame:
    """Return the answers of both studies to the same questions, marked by train resolution.

    Args:
        full: Study whose trainings change all weights.
        adapted: Study whose trainings change adapters.

    Returns:
        As `grids.answers`; for adapters the train resolution ends in `BY_ADAPTERS`.

    Raises:
        ValueError: If a study does not train as expected, or the studies have different
            questions, naming the first.
        FileNotFoundError: If a run is missing, saying how to make it.
    """
    for study, is_adapted in ((full, False), (adapted, True)):
        ranks = {study.settings(cell)["lora_rank"] for cell in study.cells("finetune")}
        if not ranks or any((rank > 0) != is_adapted for rank in ranks):
            raise ValueError(
                f"study {study.name} trains with lora_rank {sorted(ranks)}; in 02_finetune.yaml "
                "set 0 for the first study and a rank above 0 for the one compared with it"
            )
    tables = [
        table[table["train_resolution"] != "none"]
        for table in (grids.answers(full), grids.answers(adapted))
    ]
    asked = [set(zip(table["dataset"], table["question_id"], strict=True)) for table in tables]
    if unlike := asked[0] ^ asked[1]:
        dataset, question_id = min(unlike)
        raise ValueError(
            f"studies {full.name} and {adapted.name} differ in {len(unlike)} questions, first "
            f"{question_id} of {dataset}; give both the same data sets and models"
        )
    second = tables[1].assign(train_resolution=tables[1]["train_resolution"] + BY_ADAPTERS)
    return pd.concat([tables[0], second], ignore_index=True)


def costs(full: Study, adapted: Study) -> pd.DataFrame:
    """Return what each training of both studies cost, one row per training, from its record.

    Returns:
        Columns of a cell without eval_resolution, then `COSTS`; NaN if a record lacks one.
    """
    rows = []
    for study, behind in ((full, ""), (adapted, BY_ADAPTERS)):
        for cell in study.cells("finetune"):
            outcome = runs.read(runs.folder_of(study.name, "finetune", cell.path))["outcome"]
            arm = {
                "dataset": cell.dataset,
                "model": named(cell.model),
                "train_resolution": cell.train_resolution + behind,
                "seed": cell.seed,
            }
            rows.append(arm | {name: outcome.get(name) for name in COSTS})
    names = [name for name in CELL if name != "eval_resolution"]
    return pd.DataFrame(rows)[[*names, *COSTS]].sort_values(names, ignore_index=True)
