"""ms-swift: its engine for inference in batches, and its `sft`."""

import functools
import json
from pathlib import Path

import service

AT_ONCE = 8
MODEL_TYPE = "qwen2_vl"


def own_tokens(template, checkpoint: str) -> None:  # type: ignore[no-untyped-def]
    """Replace the token numbers of the published model, which its template has built in.

    And end a reply with its end of turn: with the line break that it has after it as well, a
    training would learn one token more than the others do.
    """
    config = json.loads((Path(checkpoint) / "config.json").read_text())
    template.image_token_id = config["image_token_id"]
    template.video_token_id = config["video_token_id"]
    template.template_meta.suffix = ["<|im_end|>"]


def limit(max_pixels: int) -> None:
    """Set the limit of pixels, which it keeps for the whole process."""
    from qwen_vl_utils import vision_process

    for name in ("MAX_PIXELS", "IMAGE_MAX_TOKEN_NUM"):
        if hasattr(vision_process, name):
            number = max_pixels if name == "MAX_PIXELS" else max_pixels // 28**2
            setattr(vision_process, name, number)
    for name in ("MIN_PIXELS", "IMAGE_MIN_TOKEN_NUM"):
        if hasattr(vision_process, name):
            setattr(vision_process, name, 28 * 28 if name == "MIN_PIXELS" else 1)


@functools.cache
def loaded(checkpoint: str):  # type: ignore[no-untyped-def]
    """Return its engine."""
    import torch
    from swift.infer_engine import TransformersEngine

    engine = TransformersEngine(
        checkpoint,
        model_type=MODEL_TYPE,
        template_type=MODEL_TYPE,
        torch_dtype=torch.float32,
        max_batch_size=AT_ONCE,
        device_map="cpu",
        attn_impl="sdpa",
    )
    own_tokens(engine.template, checkpoint)
    return engine


def answer(task: service.Task) -> service.Result:
    """Return greedy replies."""
    from swift.infer_engine import InferRequest, RequestConfig

    engine = loaded(task["checkpoint"])
    limit(task["max_pixels"])

    def all_replies() -> list[str]:
        requests = [
            InferRequest(
                messages=[
                    {"role": "system", "content": service.SYSTEM_PROMPT},
                    {"role": "user", "content": "<image>" + each["question"]},
                ],
                images=[each["image"]],
            )
            for each in task["conversations"]
        ]
        config = RequestConfig(max_tokens=task["new_tokens"], temperature=0)
        found = engine.infer(requests, config, use_tqdm=False)
        return [each.choices[0].message.content for each in found]

    replies, cpu_s = service.timed(all_replies)
    return {"replies": replies, "cpu_s": cpu_s}


def train(task: service.Task) -> service.Result:
    """Return the losses of a training from the checkpoint's weights."""
    import transformers
    from swift.arguments import SftArguments
    from swift.pipelines.train.sft import SwiftSft

    limit(task["max_pixels"])
    folder = Path(task["folder"])
    table = folder / f"{task['name']}.jsonl"
    with table.open("w") as opened:
        for each in task["conversations"]:
            row = {
                "messages": [
                    {"role": "system", "content": service.SYSTEM_PROMPT},
                    {"role": "user", "content": "<image>" + each["question"]},
                    {"role": "assistant", "content": each["reply"]},
                ],
                "images": [each["image"]],
            }
            opened.write(json.dumps(row) + "\n")
    given = service.arguments(task)
    for name in ("use_cpu", "bf16", "disable_tqdm", "remove_unused_columns"):
        del given[name]
    sft = SwiftSft(
        SftArguments(
            model=task["checkpoint"],
            model_type=MODEL_TYPE,
            template=MODEL_TYPE,
            dataset=[str(table)],
            tuner_type="full",
            torch_dtype="float32",
            attn_impl="sdpa",
            use_cpu=True,
            freeze_vit=False,
            freeze_aligner=False,
            freeze_llm=False,
            split_dataset_ratio=0.0,
            dataloader_num_workers=0,
            warmup_ratio=0.0,
            max_length=100_000,
            **given,
        )
    )
    own_tokens(sft.template, task["checkpoint"])
    taken, losses = [], []
    plain = transformers.Trainer.train

    def train(trainer, *args, **named):  # type: ignore[no-untyped-def]
        value, cpu_s = service.timed(lambda: plain(trainer, *args, **named))
        taken.append(cpu_s)
        losses.extend(row["loss"] for row in trainer.state.log_history if "loss" in row)
        return value

    transformers.Trainer.train = train
    try:
        sft.main()
    finally:
        transformers.Trainer.train = plain
    return {"losses": losses, "cpu_s": sum(taken)}


if __name__ == "__main__":
    service.one_thread()
    service.serve({"answer": answer, "train": train})
