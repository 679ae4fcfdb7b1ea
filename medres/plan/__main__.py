"""`python -m medres.plan STUDY`: predict what a study costs, before anything is started."""

import argparse
import sys

from medres import study as studies
from medres import texts
from medres.plan import jobs, table
from medres.plan.memory import GPUS


def main(arguments: list[str]) -> int:
    """Predict what a study costs, before anything is started."""
    parser = argparse.ArgumentParser(prog="python -m medres.plan", description=main.__doc__)
    parser.add_argument("study")
    parser.add_argument("--gpu", default=table.GPU, help=", ".join([*GPUS, jobs.NO_GPU]))
    parser.add_argument("--gpus", type=int, help="GPUs per training (default: as in the study)")
    parser.add_argument("--strategy", help="strategy of trainings (default: as in the study)")
    parser.add_argument(
        "--utilisation", type=float, default=0.0, help="share of peak FLOP/s reached, 0 to 1"
    )
    asked = parser.parse_args(arguments)
    try:
        gpu = jobs.gpu_of(asked.gpu)
        if asked.gpus is not None and asked.gpus < 1:
            raise ValueError(f"--gpus is {asked.gpus}; it must be at least 1")
        if not 0 <= asked.utilisation <= 1:
            raise ValueError(f"--utilisation is {asked.utilisation}; it must be between 0 and 1")
        given = {"processes": asked.gpus, "strategy": asked.strategy}
        text = table.report(
            studies.load(asked.study),
            gpu=gpu or GPUS[table.GPU],
            utilisation=asked.utilisation,
            changes={name: value for name, value in given.items() if value is not None},
            does_cluster_have_it=gpu is not None,
        )
    except (ValueError, OSError) as error:
        texts.fail(error)
        return 1
    texts.say(text)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
