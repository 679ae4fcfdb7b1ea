"""The benchmark of training at size: its rows train the same, on a CPU and a tiny model."""

import json
import sys
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode

from benchmarks import levers, trained_row, training_at_size
from benchmarks.levers import ROWS, Row
from medres import runs
from medres.models import tiny

NOT_COMPILED = tuple(row for row in ROWS if not row.is_compiled)
"""Compiling takes half a minute; `--cpu-check` has those rows too."""


@pytest.fixture(autouse=True)
def _root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(runs, "ROOT", tmp_path)


def row_named(name: str) -> Row:
    (row,) = (each for each in ROWS if each.name == name)
    return row


def test_all_rows_have_the_losses_of_the_first_one() -> None:
    found = training_at_size.check(NOT_COMPILED)
    compared = [row["row"] for row in found if row["apart"]]
    assert len(compared) >= len(NOT_COMPILED) - 2
    assert {"heads of 96", "4 questions, branches masked", "Trainer"} <= set(compared)


def test_a_row_that_trains_something_else_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    real = levers.without_shared_rows
    monkeypatch.setattr(levers, "without_shared_rows", lambda mask: real(mask)[:, :, 20:])
    rows = tuple(row for row in ROWS if row.questions == 4)
    with pytest.raises(ValueError, match=r"^4 questions, branches masked: losses .* apart$"):
        training_at_size.check(rows)


class _Products(TorchDispatchMode):
    """Counts products of matrices by the precision of their result."""

    def __init__(self) -> None:
        super().__init__()
        self.made: Counter[torch.dtype] = Counter()

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = func(*args, **(kwargs or {}))
        is_product = func.overloadpacket in (torch.ops.aten.mm, torch.ops.aten.addmm)
        if is_product and result.device.type != "meta":  # those of layers that are only counted
            self.made[result.dtype] += 1
        return result


@pytest.mark.parametrize("name", ["attention kept", "nothing computed again"])
@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_a_training_in_bfloat16_multiplies_in_it(name: str, dtype: str, tmp_path: Path) -> None:
    model = trained_row.build(str(tiny.make(tmp_path / "tiny")), "tiny", device="cpu")
    with _Products() as products:
        trained_row.row_of(
            row_named(name), model, (56, 56), micro=1, batch=2, n_steps=2, dtype=dtype
        )
    assert set(products.made) == {getattr(torch, dtype)}


def test_padded_heads_give_the_same_attention_at_the_given_width(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    torch.manual_seed(0)
    query, key, value = torch.randn(3, 1, 2, 7, 80, dtype=torch.float64).unbind(0)
    attend = torch.nn.functional.scaled_dot_product_attention
    widths: list[int] = []

    def noting(*heads: torch.Tensor, **named: Any) -> torch.Tensor:
        widths.extend(each.shape[-1] for each in heads)
        return attend(*heads, **named)

    for width, used in ((96, 96), (128, 128), (64, 80), (80, 80)):
        found = levers._padded(noting, width, query, key, value)
        torch.testing.assert_close(found, attend(query, key, value), rtol=1e-12, atol=1e-12)
        assert widths == [used] * 3
        widths.clear()


def test_rows_that_all_trees_share_need_no_mask() -> None:
    causal = torch.ones(5, 5).tril().bool()
    first, second = causal.clone(), causal.clone()
    first[3, 2] = False  # the fourth token begins a second question
    second[4, 1] = False
    kept = levers.without_shared_rows(torch.stack([first, second])[:, None])
    assert kept.shape == (2, 1, 2, 5)
    assert torch.equal(kept[0, 0], first[3:])
    assert torch.equal(kept[1, 0], second[3:])
    assert levers.without_shared_rows(causal[None, None]).shape == (1, 1, 0, 5)


def test_time_is_told_apart_by_kind_of_kernel() -> None:
    spent = [
        ("void pytorch_flash::flash_fwd_kernel<...>", 2.0),
        ("cudnn_generated_fort_native_sdpa_sm90_flash_bprop", 1.0),
        ("nvjet_tst_128x256_64x4_2x1_v_bz_coopA_TNN", 3.0),
        ("void at::native::vectorized_elementwise_kernel<4, gelu>", 1.0),
        ("Memcpy HtoD (Pinned -> Device)", 0.5),
        ("void multi_tensor_apply_kernel<adam>", 0.5),
    ]
    assert levers.shares(spent, 10.0) == pytest.approx(
        {
            "attention": 0.3,
            "products": 0.3,
            "elementwise": 0.1,
            "copies": 0.05,
            "optimiser": 0.05,
            "idle": 0.2,
        }
    )


def test_attention_is_not_compiled(tmp_path: Path) -> None:
    """In compiled code checkpointing would not see it, and compute it again."""
    network = trained_row.build(str(tiny.make(tmp_path / "tiny")), "tiny", device="cpu").network
    names = {type(each).__name__ for each in levers.compiled_parts(network)}
    assert names == {"LayerNorm", "VisionMlp", "Qwen2VLRMSNorm", "Qwen2MLP"}


def run_main(monkeypatch: pytest.MonkeyPatch, *arguments: str) -> None:
    command = "training_at_size --model tiny --sizes 56x56 --batch 2 --steps 2".split()
    monkeypatch.setattr(sys, "argv", [*command, *arguments])
    training_at_size.main()


def test_results_are_kept_from_session_to_session(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "found.jsonl"
    known = {"row": "Trainer", "size": "56x56", "failed": "out of memory"}
    file.write_text(json.dumps(known) + "\n")
    asked = ["--rows", "attention kept", "Trainer", "--results", str(file)]
    run_main(monkeypatch, *asked, "--within", "100")
    assert [json.loads(line) for line in file.read_text().splitlines()] == [known]
    run_main(monkeypatch, *asked)
    _, found = (json.loads(line) for line in file.read_text().splitlines())
    assert (found["row"], found["micro"]) == ("attention kept", 1)
    assert found["tokens_per_s"] > 0
    said = capsys.readouterr().out.splitlines()
    assert said[-2].split() == ["56x56", "Trainer", "out", "of", "memory"]
    assert f"{found['first_loss']:.4f}" in said[-1]


def test_a_row_that_takes_too_long_is_given_up(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    run_main(monkeypatch, "--rows", "attention kept", "--limit", "1")
    assert "not done in 1 s" in capsys.readouterr().out
