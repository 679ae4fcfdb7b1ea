from medres import resolution
from medres.published import claims
from medres.resolution import TRAIN_RESOLUTIONS


def test_claims_are_of_known_arms_and_families() -> None:
    for claim in claims.CLAIMS:
        assert claim.sign in (1, -1)
        assert claim.first != claim.second
        for trained, asked in (claim.first, claim.second):
            assert trained in TRAIN_RESOLUTIONS
            assert asked == "mixed" or resolution.parse(asked)
    main = (claims.ALIGNED, claims.MISALIGNED, claims.BELOW_LOW, claims.MIXED)
    families = (*main, claims.ZERO_SHOT, claims.RESAMPLED)
    assert claims.of_families(*families) == claims.CLAIMS
    assert {claim.family for claim in claims.of_families(claims.MIXED)} == {claims.MIXED}
