"""Tiny models by what tests need of them."""

PAPER = ("tiny-qwen2-vl", "tiny-internvl", "tiny-llava-onevision")
"""The families of the paper: grids of 28 px and tiles of 56 px, so that one set of sizes fits all.
What holds for every family is in `tests.contract`."""
