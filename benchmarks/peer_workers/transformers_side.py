"""transformers: `generate` in padded batches, and Trainer with a padding collator."""

import functools

import service
import torch
import transformers
from PIL import Image
from transformers import (
    AutoTokenizer,
    Qwen2VLForConditionalGeneration,
    Qwen2VLImageProcessorPil,
    Trainer,
    TrainingArguments,
)

AT_ONCE = 8
IGNORED = -100


class Conversations:
    """Conversations as tokens and pixels."""

    def __init__(self, checkpoint: str) -> None:
        self.tokenizer = AutoTokenizer.from_pretrained(checkpoint, trust_remote_code=False)
        self.image_processor = Qwen2VLImageProcessorPil.from_pretrained(
            checkpoint, trust_remote_code=False
        )
        self.image_token = self.tokenizer.convert_tokens_to_ids("<|image_pad|>")

    def pixels(self, path: str, max_pixels: int) -> dict[str, torch.Tensor]:
        """Return the vision inputs of a file."""
        with Image.open(path) as opened:
            return dict(
                self.image_processor(
                    images=[opened.convert("RGB")],
                    size={"shortest_edge": 28 * 28, "longest_edge": max_pixels},
                    return_tensors="pt",
                )
            )

    def prompt(self, question: str, grid: torch.Tensor) -> list[int]:
        """Return the tokens up to the reply."""
        content = [{"type": "image"}, {"type": "text", "text": question}]
        text = self.tokenizer.apply_chat_template(
            [
                {"role": "system", "content": service.SYSTEM_PROMPT},
                {"role": "user", "content": content},
            ],
            tokenize=False,
            add_generation_prompt=True,
        )
        n_tokens = int(grid.prod()) // 4
        return list(
            self.tokenizer.encode(text.replace("<|image_pad|>", "<|image_pad|>" * n_tokens))
        )

    def reply(self, text: str) -> list[int]:
        """Return the tokens of a reply with its end of turn."""
        return list(self.tokenizer.encode(text + "<|im_end|>"))

    def batch(self, rows: list[tuple[list[int], dict[str, torch.Tensor]]], *, is_left: bool):  # type: ignore[no-untyped-def]
        """Return padded inputs."""
        length = max(len(tokens) for tokens, _ in rows)
        ids = torch.full((len(rows), length), self.tokenizer.pad_token_id)
        mask = torch.zeros_like(ids)
        for row, (tokens, _) in enumerate(rows):
            place = slice(length - len(tokens), length) if is_left else slice(len(tokens))
            ids[row, place] = torch.tensor(tokens)
            mask[row, place] = 1
        vision = {
            name: torch.cat([pixels[name] for _, pixels in rows])
            for name in ("pixel_values", "image_grid_thw")
        }
        return vision | {
            "input_ids": ids,
            "attention_mask": mask,
            "mm_token_type_ids": (ids == self.image_token).int(),
        }


@functools.cache
def loaded(checkpoint: str) -> tuple[Conversations, Qwen2VLForConditionalGeneration]:
    """Return conversations and network of a checkpoint."""
    network = Qwen2VLForConditionalGeneration.from_pretrained(
        checkpoint, dtype=torch.float32, trust_remote_code=False
    )
    return Conversations(checkpoint), network.eval()


@torch.no_grad()
def answer(task: service.Task) -> service.Result:
    """Return greedy replies, `AT_ONCE` at a time."""
    made, network = loaded(task["checkpoint"])

    def all_replies() -> list[str]:
        replies: list[str] = []
        for start in range(0, len(task["conversations"]), AT_ONCE):
            rows = []
            for each in task["conversations"][start : start + AT_ONCE]:
                pixels = made.pixels(each["image"], task["max_pixels"])
                rows.append((made.prompt(each["question"], pixels["image_grid_thw"]), pixels))
            inputs = made.batch(rows, is_left=True)
            output = network.generate(
                **inputs,
                max_new_tokens=task["new_tokens"],
                do_sample=False,
                eos_token_id=made.tokenizer.convert_tokens_to_ids("<|im_end|>"),
                pad_token_id=made.tokenizer.pad_token_id,
            )
            new = output[:, inputs["input_ids"].shape[1] :]
            replies += made.tokenizer.batch_decode(new, skip_special_tokens=True)
        return replies

    replies, cpu_s = service.timed(all_replies)
    return {"replies": replies, "cpu_s": cpu_s}


class Flat(torch.utils.data.Dataset):  # type: ignore[type-arg]
    """One conversation a sample."""

    def __init__(self, task: service.Task, made: Conversations) -> None:
        self.task, self.made = task, made

    def __len__(self) -> int:
        """Return the number of conversations."""
        return len(self.task["conversations"])

    def __getitem__(self, index: int):  # type: ignore[no-untyped-def]
        """Return prompt, reply and pixels."""
        each = self.task["conversations"][index]
        pixels = self.made.pixels(each["image"], self.task["max_pixels"])
        prompt = self.made.prompt(each["question"], pixels["image_grid_thw"])
        return prompt, self.made.reply(each["reply"]), pixels

    def collate(self, chosen):  # type: ignore[no-untyped-def]
        """Return a padded batch with labels on the replies."""
        inputs = self.made.batch(
            [(prompt + reply, pixels) for prompt, reply, pixels in chosen], is_left=False
        )
        labels = torch.full_like(inputs["input_ids"], IGNORED)
        for row, (prompt, reply, _) in enumerate(chosen):
            labels[row, len(prompt) : len(prompt) + len(reply)] = torch.tensor(reply)
        return inputs | {"labels": labels}


def train(task: service.Task) -> service.Result:
    """Return the losses of a training from the checkpoint's weights."""
    made, _ = loaded(task["checkpoint"])
    network = Qwen2VLForConditionalGeneration.from_pretrained(
        task["checkpoint"], dtype=torch.float32, trust_remote_code=False
    )
    flat = Flat(task, made)
    trainer = Trainer(
        network,
        TrainingArguments(**service.arguments(task)),
        train_dataset=flat,
        data_collator=flat.collate,
    )
    return service.trained(trainer)


if __name__ == "__main__":
    service.one_thread()
    transformers.utils.logging.disable_progress_bar()
    service.serve({"answer": answer, "train": train})
