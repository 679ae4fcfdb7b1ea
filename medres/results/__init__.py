"""What a study's answers show: accuracies, comparisons, verdicts."""
