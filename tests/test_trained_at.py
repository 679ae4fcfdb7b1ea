"""Names of train resolutions, and what each takes at which resolution."""

import pytest

from medres import trained_at


@pytest.mark.parametrize(
    ("name", "shares", "low_share"),
    [
        ("none", {}, None),
        ("low", {"low": 1}, 1),
        ("native", {"native": 1}, 0),
        ("mixed", {"low": 0.3, "native": 0.7}, 0.3),
        ("mixed-1", {"low": 0.01, "native": 0.99}, 0.01),
        ("mixed-99", {"low": 0.99, "native": 0.01}, 0.99),
        ("scale-0.5", {"scale-0.5": 1}, None),
        ("pixels-50176", {"pixels-50176": 1}, None),
        ("low-lanczos", {"low-lanczos": 1}, None),
        ("upsampled-bicubic", {"upsampled-bicubic": 1}, None),
        ("tokens-64", {"tokens-64": 1}, None),
        ("crops-4", {"crops-4": 1}, None),
        ("plain-crops-4", {"plain-crops-4": 1}, None),
        ("low-then-native", {"native": 1}, None),
        ("low-lanczos-then-mixed-25", {"low": 0.25, "native": 0.75}, None),
    ],
)
def test_a_train_resolution_says_what_its_questions_are_taken_at(name, shares, low_share) -> None:
    trained_at.check(name)
    assert trained_at.shares(name, low_share=0.3) == pytest.approx(shares)
    assert trained_at.low_share(name, low_share=0.3) == low_share


@pytest.mark.parametrize(
    ("name", "before"),
    [("low", ""), ("low-then-native", "low"), ("mixed-25-then-scale-2", "mixed-25")],
)
def test_what_a_training_goes_on_from(name: str, before: str) -> None:
    assert trained_at.earlier(name) == before


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        *((f"mixed-{each}", "percentage") for each in ("0", "100", "05", "2.5", "", "25%")),
        ("Mixed", "unknown resolution"),
        (25, "unknown resolution '25'"),
        ("blank", "nothing is trained at 'blank'"),
        ("zoom", "nothing is trained at 'zoom'"),
        ("low-box", "unknown resolution 'low-box'"),
        ("low-then-", "unknown resolution ''"),
        ("-then-low", "unknown resolution ''"),
        ("none-then-low", "'none' is no training to go on from"),
        ("low-then-native-then-low", "'low-then-native' is no training to go on from"),
        ("low-then-none", "unknown resolution 'none'"),
        ("low-then-blank", "nothing is trained at 'blank'"),
    ],
)
def test_what_is_no_train_resolution_is_refused_with_those_that_are(name, reason) -> None:
    with pytest.raises(ValueError, match="use none, low, native, mixed") as raised:
        trained_at.check(name)
    assert reason in str(raised.value)


def test_what_a_study_s_trainings_take_of_its_images() -> None:
    names = ["none", "low", "mixed-25", "scale-0.5", "low-then-scale-0.5", "low-then-crops-4"]
    assert trained_at.taken(names) == ["low", "native", "scale-0.5", "crops-4"]
    assert trained_at.taken(["none"]) == []


def test_adapters_are_for_trainings_that_begin_with_the_base_model() -> None:
    trained_at.check_adapters("low", 8)
    trained_at.check_adapters("low-then-native", 0)
    with pytest.raises(ValueError, match=r"'low-then-native' with lora_rank 8.*adapt_layers, or"):
        trained_at.check_adapters("low-then-native", 8)


def test_what_is_gone_on_from_must_be_trained_too() -> None:
    trained_at.check_all(["none", "low", "low-then-native"])
    with pytest.raises(ValueError, match=r"'low-then-native' without 'low'.*add it"):
        trained_at.check_all(["none", "native", "low-then-native"])
