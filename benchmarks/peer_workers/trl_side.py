"""TRL: SFTTrainer on prompts and completions with images."""

import functools

import service


@functools.cache
def processor(checkpoint: str):  # type: ignore[no-untyped-def]
    """Return the processor of a checkpoint."""
    from transformers import AutoProcessor

    return AutoProcessor.from_pretrained(checkpoint, trust_remote_code=False)


def train(task: service.Task) -> service.Result:
    """Return the losses of a training from the checkpoint's weights."""
    import datasets
    import torch
    from transformers import Qwen2VLForConditionalGeneration
    from trl import SFTConfig, SFTTrainer

    made = processor(task["checkpoint"])
    made.image_processor.size = {"shortest_edge": 28 * 28, "longest_edge": task["max_pixels"]}
    rows = []
    for each in task["conversations"]:
        content = [{"type": "image"}, {"type": "text", "text": each["question"]}]
        prompt = made.apply_chat_template(
            [
                {"role": "system", "content": service.SYSTEM_PROMPT},
                {"role": "user", "content": content},
            ],
            tokenize=False,
            add_generation_prompt=True,
        )
        rows.append(
            {
                "prompt": prompt,
                "completion": each["reply"] + "<|im_end|>",
                "images": [each["image"]],
            }
        )
    images = datasets.Sequence(datasets.Image())
    network = Qwen2VLForConditionalGeneration.from_pretrained(
        task["checkpoint"], dtype=torch.float32, trust_remote_code=False
    )
    trainer = SFTTrainer(
        network,
        SFTConfig(**service.arguments(task), max_length=None, completion_only_loss=True),
        train_dataset=datasets.Dataset.from_list(rows).cast_column("images", images),
        processing_class=made,
    )
    return service.trained(trainer)


if __name__ == "__main__":
    service.one_thread()
    service.serve({"train": train})
