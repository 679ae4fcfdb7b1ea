"""What a study's answers say: cells, comparisons, verdicts."""
