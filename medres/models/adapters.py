"""A folder with a low-rank adapter alone: what it must hold, and the model it lies on.

As peft writes it, and with it ms-swift and LLaMA-Factory: adapter_config.json and
adapter_model.safetensors, perhaps with copies of the base's small files. `lora.merged` does the
arithmetic.
"""

import json
import re
from pathlib import Path
from typing import Any

from medres.models import places, weights
from medres.models.places import ADAPTER_CONFIG

USED = frozenset(
    "r lora_alpha use_rslora use_dora target_modules exclude_modules modules_to_save rank_pattern "
    "alpha_pattern fan_in_fan_out bias lora_bias layers_to_transform layers_pattern".split()
)
"""Settings that decide what a merged adapter is."""
OF_TRAINING = frozenset(
    "task_type peft_type auto_mapping peft_version base_model_name_or_path revision "
    "inference_mode lora_dropout init_lora_weights megatron_core loftq_config eva_config "
    "corda_config lora_ga_config velora_config runtime_config qalora_group_size "
    "ensure_weight_tying lora_dtype lorap_lr_ratio lorap_emb_lr".split()
)
"""Settings that only matter while an adapter is trained."""
PLAIN_STARTS = (None, True, False, "gaussian", "orthogonal", "eva")
"""Ways to begin that leave the base's weights as they are."""
MERGE = "merge it where it was trained, and give the folder of the merged model"


def settings_of(folder: Path, name: str) -> dict[str, Any]:
    """Return the settings of an adapter.

    Raises:
        ValueError: If the file is damaged.
    """
    try:
        content = json.loads((folder / ADAPTER_CONFIG).read_text(encoding="utf-8"))
    except (ValueError, RecursionError):
        content = None
    if not isinstance(content, dict):
        raise ValueError(f"{name}: {ADAPTER_CONFIG} is not valid JSON; fetch it again")
    return content


def check(folder: Path, name: str, *, has_weights: bool) -> None:
    """Refuse a folder whose adapter cannot be merged, or may be merged already.

    Args:
        folder: With an adapter_config.json.
        name: Of the folder, for messages.
        has_weights: Whether the adapter's weights must be there by now.

    Raises:
        FileNotFoundError: If the adapter's weights are missing, or pickled.
        ValueError: If whole weights lie beside it, or it is no plain low-rank adapter.
    """
    if weights.are_in(folder):
        raise ValueError(
            f"{name} holds whole weights and an adapter ({ADAPTER_CONFIG}), and nothing says "
            f"whether it is merged into them; if it is, remove {ADAPTER_CONFIG} and "
            f"{weights.ADAPTER}; if not, move these two to a folder of their own and give that one"
        )
    settings = settings_of(folder, name)
    if (kind := settings.get("peft_type")) != "LORA":
        raise ValueError(f"{name} is an adapter of type {kind}, only LORA is merged here; {MERGE}")
    if (start := settings.get("init_lora_weights")) not in PLAIN_STARTS:
        raise ValueError(
            f"{name}: {ADAPTER_CONFIG} has init_lora_weights {start!r}, which changed the base's "
            f"weights too; {MERGE}"
        )
    for key, value in settings.items():
        if value and key not in USED | OF_TRAINING:
            raise ValueError(
                f"{name}: {ADAPTER_CONFIG} has {key} {value!r}, which is not merged here; {MERGE}"
            )
    if not has_weights:
        return
    if not (folder / weights.ADAPTER).is_file():
        pickled = sorted(path.name for path in folder.glob("adapter_model*.bin"))
        found = f"only as pickle ({pickled[0]}), which is never read" if pickled else "not there"
        raise FileNotFoundError(
            f"{name}: the adapter's weights are {found}; it needs {weights.ADAPTER}, save it again "
            "with safetensors"
        )
    weights.header(folder / weights.ADAPTER, f"{name}: {weights.ADAPTER}")


def base_of(folder: Path, name: str, *, revision: str) -> tuple[str, str]:
    """Return the folder or Hub id that an adapter was trained on, and its commit.

    Args:
        folder: Of the adapter.
        name: Of the folder, for messages.
        revision: Commit of the base on the Hub, if the adapter does not say it.

    Raises:
        FileNotFoundError: If the base is not on this machine.
        ValueError: If the adapter does not say its base, or the base's commit is not known.
    """
    settings = settings_of(folder, name)
    base = settings.get("base_model_name_or_path")
    remedy = (
        "write the folder of the base, or its Hub id, as base_model_name_or_path into its "
        f"{ADAPTER_CONFIG}"
    )
    if not isinstance(base, str) or not base:
        raise ValueError(f"{name} is an adapter that does not say on which model; {remedy}")
    own = settings.get("revision") or ""
    commit = own if re.fullmatch(r"[0-9a-f]{7,40}", str(own)) else revision
    try:
        place = places.locate(base, revision=commit)
    except FileNotFoundError as error:
        raise FileNotFoundError(
            f"{name} is an adapter of {base}, which is not on this machine; {remedy}"
        ) from error
    if not Path(place).is_dir() and not commit:
        raise ValueError(
            f"{name} is an adapter of {base}, a model of the Hub without commit; give it as "
            f"`revision`, or {remedy}"
        )
    return place, commit
