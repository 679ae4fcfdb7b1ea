from medres import resolution, trained_at
from medres.published import claims


def test_claims_are_of_known_arms_and_families() -> None:
    for claim in claims.CLAIMS:
        assert claim.sign in (1, -1)
        assert claim.first != claim.second
        for trained, asked in (claim.first, claim.second, *(arm for arm, _ in claim.others)):
            trained_at.check(trained)
            assert asked == "mixed" or resolution.parse(asked)
        # Second minus first, and others that add up to nothing.
        assert sum(weight for _, weight in claim.others) == 0
        assert bool(claim.compared) == bool(claim.others)
    main = (claims.ALIGNED, claims.MISALIGNED, claims.BELOW_LOW, claims.MIXED)
    families = (*main, claims.ZERO_SHOT, claims.RESAMPLED)
    paper_s = tuple(each for each in claims.CLAIMS if each.family not in claims.OF_STUDY)
    assert claims.of_families(*families) == paper_s
    assert claims.CLAIMS[: len(paper_s)] == paper_s, "the paper's come first"
    assert {claim.family for claim in claims.of_families(claims.MIXED)} == {claims.MIXED}


def test_going_on_is_compared_with_stopping_and_with_the_other_training() -> None:
    found = claims.gone_on("low", "scale-0.5")
    assert [(claim.first, claim.second, claim.sign, claim.margin) for claim in found] == [
        (("low", "scale-0.5"), ("low-then-scale-0.5", "scale-0.5"), 1, 0),
        (("low", "low"), ("low-then-scale-0.5", "scale-0.5"), 1, 0),
        (("scale-0.5", "scale-0.5"), ("low-then-scale-0.5", "scale-0.5"), 1, 0.01),
    ]
    assert set(claims.gone_on("low", "native")) <= set(claims.CLAIMS)


def test_claims_have_a_name_and_a_statement_each() -> None:
    for said in ("name", "statement"):
        assert len({getattr(claim, said) for claim in claims.CLAIMS}) == len(claims.CLAIMS)
    assert {claim.margin for claim in claims.CLAIMS} == {0, 0.01}
    within = [claim for claim in claims.CLAIMS if claim.margin]
    assert all("no more than 1 point worse" in claim.statement for claim in within)
