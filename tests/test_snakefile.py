import os
import shutil
import subprocess
import sys
from pathlib import Path

import yaml

REPOSITORY = Path(__file__).resolve().parent.parent
STUDY = {
    "title": "Small",
    "models": ["tiny-qwen2-vl"],
    "train_resolutions": ["none", "low", "native", "low-then-native"],
    "seeds": [0, 1],
    "datasets": {"my-native-seed1": {"table": "own/questions.csv"}},
    "finetune": {},
    "reports": ["05_alignment"],
}


def test_the_index_asks_for_every_page_and_native_trainings_have_a_rule_of_their_own(
    project: Path,
) -> None:
    shutil.copy(REPOSITORY / "Snakefile", project)
    (project / "params" / "small").mkdir()
    (project / "params" / "small" / "study.yaml").write_text(yaml.safe_dump(STUDY))
    command = [sys.executable, "-m", "snakemake", "-n", "--cores", "1", "--config", "study='small'"]
    environment = {**os.environ, "PYTHONPATH": str(REPOSITORY)}
    said = subprocess.run(command, cwd=project, env=environment, capture_output=True, text=True)
    assert said.returncode == 0, said.stderr
    table = said.stdout.partition("Job stats:")[2].split("\n\n")[0].splitlines()[3:]
    # Two trainings at low, two at native, two on from low to native; those and the base are asked.
    assert dict(line.split() for line in table) == {
        **{"all": "1", "questions": "1", "finetune": "2", "finetune_native": "4"},
        **{"evaluate": "7", "report": "2", "total": "17"},
    }
