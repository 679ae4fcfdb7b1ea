"""What a study costs before it starts: tokens, operations, memory, GPU time."""
