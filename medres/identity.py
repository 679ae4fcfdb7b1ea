"""What decides a result and so is part of a run's digest, and what does not."""

SCHEMA = 3
"""Raised when code changes what a run with the same parameters computes."""
VERSIONS = tuple(
    "torch transformers tokenizers numpy scipy pillow simplejpeg imagecodecs tifffile pydicom "
    "openslide-bin".split()
)
"""Packages whose version can change a result."""
IDENTITY = frozenset(
    "dataset model revision train_resolution eval_resolutions seed low_max_pixels "
    "native_max_pixels resampling_filter low_share epochs batch_images learning_rate answer_by "
    "weight_decay warmup_share limit n_train_images n_test_images data_seed table test_share "
    "unreadable folder source split scaling channels slide_max_pixels prompt group n_test "
    "cell_line_cap localization_cap missing check_md5 label include_dmso splits frames language "
    "whole tiling dtype lora_rank generate_closed max_new_tokens find_images outside_images "
    "ask not_seen_by adapt_layers adapt_epochs train_vision adam_beta1 adam_beta2".split()
)
"""Parameters that decide a result; they are in the digest."""
RUNTIME = frozenset(
    "study threads checkpoint_every_steps cache_gib micro_batch_images gradient_checkpointing "
    "strategy processes hostfile port device keep_checkpoints check_questions concurrency "
    "requests_per_minute timeout_s attempts api_key_variable allow_host use_proxy open_rule".split()
)
"""Parameters that only decide where and how fast it is made, up to rounding; they are not."""
