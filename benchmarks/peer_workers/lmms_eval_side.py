"""lmms-eval: its model class for Qwen2-VL, as its evaluator calls it, in batches."""

import functools

import service
from PIL import Image

AT_ONCE = 8


@functools.cache
def loaded(checkpoint: str, max_pixels: int):  # type: ignore[no-untyped-def]
    """Return its model; the limit of pixels is one of the model."""
    from lmms_eval.models.simple.qwen2_vl import Qwen2_VL

    return Qwen2_VL(
        pretrained=checkpoint,
        device="cpu",
        device_map="cpu",
        batch_size=AT_ONCE,
        min_pixels=28 * 28,
        max_pixels=max_pixels,
        system_prompt=service.SYSTEM_PROMPT,
    )


def visual(each):  # type: ignore[no-untyped-def]
    """Return the picture of a conversation."""
    with Image.open(each["image"]) as opened:
        return [opened.convert("RGB")]


def answer(task: service.Task) -> service.Result:
    """Return greedy replies."""
    from lmms_eval.api.instance import Instance

    model = loaded(task["checkpoint"], task["max_pixels"])
    model.task_dict = {"benchmark": {"test": task["conversations"]}}

    def all_replies() -> list[str]:
        requests = [
            Instance(
                request_type="generate_until",
                arguments=(
                    each["question"],
                    {"max_new_tokens": task["new_tokens"], "temperature": 0, "do_sample": False},
                    visual,
                    number,
                    "benchmark",
                    "test",
                ),
                idx=0,
                metadata={"task": "benchmark", "doc_id": number, "repeats": 1},
            )
            for number, each in enumerate(task["conversations"])
        ]
        return [getattr(reply, "text", reply) for reply in model.generate_until(requests)]

    replies, cpu_s = service.timed(all_replies)
    return {"replies": replies, "cpu_s": cpu_s}


if __name__ == "__main__":
    service.one_thread()
    service.serve({"answer": answer})
