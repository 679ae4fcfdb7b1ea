"""The statistics beside R's own, where R is installed (Debian: r-base-core)."""

import json
import shutil
import subprocess

import numpy as np
import pytest
from statsmodels.stats.proportion import proportion_confint

from medres.statistics import comparison

RSCRIPT = shutil.which("Rscript")
pytestmark = pytest.mark.skipif(RSCRIPT is None, reason="Rscript is not installed")


def r(code: str) -> np.ndarray:
    """Return the numbers that a line of R evaluates to."""
    shown = f'cat(paste0("[", paste(format({code}, digits = 17), collapse = ","), "]"))'
    done = subprocess.run(
        [str(RSCRIPT), "--vanilla", "-e", shown], capture_output=True, text=True, check=True
    )
    return np.array(json.loads(done.stdout.replace("NaN", "null")), dtype=float)


def vector(values: np.ndarray) -> str:
    return f"c({', '.join(map(repr, np.asarray(values).tolist()))})"


@pytest.mark.parametrize("seed", range(3))
def test_mcnemar_is_r_s_binomial_test_of_the_discordant_pairs(seed: int) -> None:
    rng = np.random.default_rng(seed)
    first, second = rng.random(60) < 0.5, rng.random(60) < 0.7
    only_first, only_second = int((first & ~second).sum()), int((~first & second).sum())
    (expected,) = r(f"binom.test({only_first}, {only_first + only_second}, 0.5)$p.value")
    found = comparison.mcnemar_exact(first.astype(int), second.astype(int))
    assert found == pytest.approx(expected, abs=1e-12)


def test_mcnemar_nears_r_s_approximate_test_with_many_pairs() -> None:
    """R has only the approximate test built in, with a continuity correction."""
    first = np.repeat([1, 1, 0, 0], [400, 120, 165, 315])
    second = np.repeat([1, 0, 1, 0], [400, 120, 165, 315])
    (approximate,) = r("mcnemar.test(matrix(c(400, 120, 165, 315), 2))$p.value")
    assert comparison.mcnemar_exact(first, second) == pytest.approx(approximate, rel=0.02)


@pytest.mark.parametrize("seed", range(3))
def test_holm_is_r_s(seed: int) -> None:
    p_values = np.random.default_rng(seed).random(9) ** 3
    expected = r(f'p.adjust({vector(p_values)}, "holm")')
    assert comparison.holm(p_values) == pytest.approx(expected, abs=1e-12)


def test_accuracy_interval_of_single_questions_is_r_s_wilson_score() -> None:
    correct = np.repeat([1, 0], [70, 30])
    found = comparison.accuracy_interval(correct, np.arange(100))
    expected = r("prop.test(70, 100, correct = FALSE)$conf.int")
    assert (found.lower, found.upper) == pytest.approx(tuple(expected), abs=1e-9)
    assert tuple(expected) == pytest.approx(proportion_confint(70, 100, method="wilson"), abs=1e-9)


def test_training_interval_is_r_s_t_test() -> None:
    differences = np.array([0.05, 0.08, 0.02, 0.06, 0.11])
    found = comparison.training_interval(differences)
    expected = r(f"t.test({vector(differences)})$conf.int")
    assert (found.lower, found.upper) == pytest.approx(tuple(expected), abs=1e-12)
