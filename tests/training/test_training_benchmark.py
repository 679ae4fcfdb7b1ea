from pathlib import Path

import pytest
import torch

from benchmarks import training as benchmark
from medres import runs
from medres.models import tiny
from medres.resolution import Treatment

SIDES = ("medres", "Trainer")


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """The tiny model; pictures of a few tokens."""
    monkeypatch.setattr(runs, "ROOT", tmp_path)
    monkeypatch.setattr(benchmark, "SIDE_PX", 112)
    monkeypatch.setattr(benchmark, "TREATMENT", Treatment(3_136, 12_544, "bicubic", 28))
    return str(tiny.make(tmp_path / "tiny"))


@pytest.mark.parametrize("reads_as_usual", [False, True])
def test_both_sides_train_the_same_with_several_questions_an_image(
    place: str, reads_as_usual: bool
) -> None:
    row = benchmark.compare(
        place,
        "mixed",
        questions_an_image=2,
        micro=3,
        n_rounds=1,
        reads_as_usual=reads_as_usual,
    )
    assert row["questions an image"] == "2"
    rates = [float(row[f"{side}, samples/s"]) for side in SIDES]
    tokens = [float(row[f"{side}, tokens/s"].replace(",", "")) for side in SIDES]
    assert tokens[0] / tokens[1] == pytest.approx(rates[0] / rates[1], rel=0.02)


def test_sides_with_other_losses_are_not_compared(
    place: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = benchmark.FlatConversations.collate

    def without_first_answer(
        flat: benchmark.FlatConversations, chosen: list[tuple]
    ) -> dict[str, torch.Tensor]:
        batch = real(flat, chosen)
        batch["labels"][0] = -100
        return batch

    monkeypatch.setattr(benchmark.FlatConversations, "collate", without_first_answer)
    with pytest.raises(ValueError, match="apart; the sides do not train the same"):
        benchmark.compare(
            place, "low", questions_an_image=1, micro=0, n_rounds=1, reads_as_usual=False
        )
