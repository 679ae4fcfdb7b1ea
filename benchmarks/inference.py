"""Inference: medres beside transformers' generate, and beside one forward pass an option.

    python -m benchmarks.inference            # some minutes
    python -m benchmarks.inference --quick    # two rounds of the smallest rows

All sides answer the same closed questions about the same pixels with the same tiny Qwen2-VL,
32-bit, one thread, in one process, in turns; a round is all questions by each side, from pixels
to answers. Ratios are of the sides in the same round.

* one by one: `generate`, greedy, for each question alone;
* batched: `generate` for eight questions at a time, padded on the left;
* each option: one forward pass an option, whose log-probability is taken; eight at a time.

`generate` stops at the end of turn or after as many tokens as the longest option has, or after
--new-tokens. A model with random weights says nothing that means an option, so that replies are
compared with each other; medres' answers are compared with those of one forward pass an option
and must be the same. "and replies" is medres with a greedy reply to every question beside its
score: of as many tokens as `generate` writes, and none that an option begins with, the costliest
case. The other sides have network and image processor as transformers loads them. Whole programs,
medres' own and others', are compared by `benchmarks.peers`.
"""

import argparse
import statistics
import time
from collections.abc import Callable, Sequence

import torch
from PIL import Image
from transformers import PreTrainedModel, Qwen2VLForConditionalGeneration

from benchmarks.images import draw, table
from medres import models, resolution
from medres.inference import generation
from medres.models import LoadedModel, conversation, tiny
from medres.resolution import Treatment

TREATMENT = Treatment(50_176, 12_000_000, "bicubic", 28)
OPTIONS = ("nodule", "mass", "fluid", "none present")
AT_ONCE = 8
"""Conversations of a batch on the other sides, and images of one on ours."""
ROWS = (((448, 448), "low", 8), ((448, 448), "native", 8), ((1280, 1024), "native", 2))
"""Size of the stored image, resolution, images of a round."""
SCORE_TOLERANCE = 1e-4


class Asked:
    """Questions about some images, and the ways of answering them."""

    def __init__(
        self,
        model: LoadedModel,
        theirs: PreTrainedModel,
        images: list[Image.Image],
        n_questions: int,
        n_new_tokens: int,
    ) -> None:
        self.model, self.theirs, self.images = model, theirs, images
        self.questions = [
            f"what is seen in part {number} of the picture?" for number in range(n_questions)
        ]
        self.flat = [
            (number, question) for number in range(len(images)) for question in self.questions
        ]
        tokenizer = model.tokenizer
        longest = max(len(tokenizer.encode(option, add_special_tokens=False)) for option in OPTIONS)
        self.n_new_tokens = n_new_tokens or longest + 1

    def medres(self) -> list[str]:
        """Return the options with the highest log-probability, an image's questions together."""
        return self.ask(asked=[])

    def and_replies(self) -> list[str]:
        """Return the same, with greedy replies beside."""
        return self.ask(asked=range(len(self.questions)))

    def ask(self, *, asked: Sequence[int]) -> list[str]:
        """Answer all questions, some with a reply, and keep scores and replies."""
        answers: list[str] = []
        self.scores: list[list[float]] = []
        self.replies: list[str] = []
        n_questions = len(self.questions)
        for start in range(0, len(self.images), AT_ONCE):
            pixels = self.images[start : start + AT_ONCE]
            trees = [
                conversation.encode(
                    self.model,
                    image.size,
                    ["q"] * n_questions,
                    self.questions,
                    [OPTIONS] * n_questions,
                    with_ends=False,
                )
                for image in pixels
            ]
            scores, replies = generation.score_and_reply(
                self.model, trees, pixels, [asked] * len(trees)
            )
            self.replies += [reply.answer for each in replies for reply in each.values()]
            for sums, _ in scores:
                for of_question in sums.reshape(n_questions, len(OPTIONS)):
                    self.scores.append(of_question.tolist())
                    answers.append(OPTIONS[int(of_question.argmax())])
        return answers

    def each_option(self) -> list[str]:
        """Return the same by one flat conversation an option."""
        flat = [(number, text, option) for number, text in self.flat for option in OPTIONS]
        found: list[float] = []
        for start in range(0, len(flat), AT_ONCE):
            part = flat[start : start + AT_ONCE]
            prompts = [self.prompt(number, text) for number, text, _ in part]
            replies = [
                self.model.tokenizer.encode(option + self.model.tokenizer.eos_token)
                for _, _, option in part
            ]
            inputs = self.batch(
                [prompt + reply for prompt, reply in zip(prompts, replies, strict=True)],
                [number for number, _, _ in part],
            )
            logits = self.theirs(**inputs, use_cache=False).logits
            for row, reply in enumerate(replies):
                at = logits[row, -len(reply) - 1 : -1].double().log_softmax(-1)
                found.append(float(at[torch.arange(len(reply)), torch.tensor(reply)].sum()))
        self.flat_scores = [
            found[start : start + len(OPTIONS)] for start in range(0, len(found), len(OPTIONS))
        ]
        return [OPTIONS[scores.index(max(scores))] for scores in self.flat_scores]

    def one_by_one(self) -> list[str]:
        """Return what `generate` says to each question alone."""
        return self.generate(at_once=1)

    def batched(self) -> list[str]:
        """Return what `generate` says to several at a time."""
        return self.generate(at_once=AT_ONCE)

    def generate(self, *, at_once: int) -> list[str]:
        """Return the greedy replies of padded batches."""
        replies: list[str] = []
        for start in range(0, len(self.flat), at_once):
            part = self.flat[start : start + at_once]
            inputs = self.batch(
                [self.prompt(number, text) for number, text in part],
                [number for number, _ in part],
            )
            output = self.theirs.generate(
                **inputs,
                max_new_tokens=self.n_new_tokens,
                do_sample=False,
                eos_token_id=self.model.tokenizer.eos_token_id,
                pad_token_id=self.model.tokenizer.pad_token_id,
            )
            new = output[:, inputs["input_ids"].shape[1] :]
            said = self.model.tokenizer.batch_decode(new, skip_special_tokens=True)
            replies += map(str.strip, said)
        return replies

    def prompt(self, number: int, question: str) -> list[int]:
        """Return the tokens of a flat conversation up to the reply."""
        content = [{"type": "image"}, {"type": "text", "text": question}]
        tokenizer = self.model.tokenizer
        text = tokenizer.apply_chat_template(
            [
                {"role": "system", "content": conversation.SYSTEM_PROMPT},
                {"role": "user", "content": content},
            ],
            tokenize=False,
            add_generation_prompt=True,
        )
        n_tokens = resolution.visual_token_count(
            self.images[number].size, multiple_px=self.model.multiple_px
        )
        tokens: list[int] = tokenizer.encode(
            text.replace("<|image_pad|>", "<|image_pad|>" * n_tokens)
        )
        return tokens

    def batch(self, conversations: list[list[int]], numbers: list[int]) -> dict[str, torch.Tensor]:
        """Return conversations padded on the left, each with its own image."""
        length = max(map(len, conversations))
        ids = torch.full((len(conversations), length), self.model.tokenizer.pad_token_id)
        mask = torch.zeros_like(ids)
        for row, tokens in enumerate(conversations):
            ids[row, length - len(tokens) :] = torch.tensor(tokens)
            mask[row, length - len(tokens) :] = 1
        return {
            "input_ids": ids,
            "attention_mask": mask,
            "mm_token_type_ids": (ids == self.model.image_token_id).int(),
            **self.model.image_processor(
                [self.images[number] for number in numbers], do_resize=False, return_tensors="pt"
            ),
        }


def seconds(side: Callable[[], list[str]]) -> tuple[float, list[str]]:
    """Return the time of one side and its answers: of this process alone, it has one thread."""
    began = time.process_time()
    answers = side()
    return time.process_time() - began, answers


def compare(asked: Asked, *, n_rounds: int) -> dict[str, str]:
    """Return questions a second of each side, and how much faster ours is than each other.

    Raises:
        ValueError: If our answers or scores are not those of one forward pass an option.
    """
    sides = {
        "and replies": asked.and_replies,
        "medres": asked.medres,
        "one by one": asked.one_by_one,
        "batched": asked.batched,
        "each option": asked.each_option,
    }
    generation.MAX_NEW_TOKENS = asked.n_new_tokens
    first, replies = {}, []
    for name, side in sides.items():
        first[name] = seconds(side)[1]
        replies = replies or asked.replies
    off = max(
        abs(ours - theirs)
        for pair in zip(asked.scores, asked.flat_scores, strict=True)
        for ours, theirs in zip(*pair, strict=True)
    )
    is_same = first["and replies"] == first["medres"] == first["each option"]
    if not is_same or off > SCORE_TOLERANCE:
        raise ValueError(f"answers differ from those of one pass an option; scores by {off:g}")
    taken: dict[str, list[float]] = {name: [] for name in sides}
    names = list(sides)
    for number in range(n_rounds):
        for place in range(len(names)):
            name = names[(place + number) % len(names)]
            taken[name].append(seconds(sides[name])[0])
    n_questions = len(asked.flat)
    row = {"medres, questions/s": f"{n_questions / statistics.median(taken['medres']):.1f}"}
    for name in names[2:]:
        ratios = [theirs / ours for theirs, ours in zip(taken[name], taken["medres"], strict=True)]
        row[f"times {name}"] = (
            f"{statistics.median(ratios):.2f} ({min(ratios):.2f} to {max(ratios):.2f})"
        )
    with_replies = [
        theirs / ours for theirs, ours in zip(taken["batched"], taken["and replies"], strict=True)
    ]
    row["and replies, times batched"] = f"{statistics.median(with_replies):.2f}"
    same = sum(map(str.__eq__, first["one by one"], first["batched"]))
    ours = sum(map(str.__eq__, first["one by one"], replies))
    return row | {
        "same replies, batched and ours": f"{same} and {ours} of {n_questions}",
        "scores off": f"{off:.0e}",
    }


@torch.no_grad()
def main() -> None:
    """Draw the pictures, run the rounds, print the table."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--quick", action="store_true", help="two rounds of the smallest rows")
    parser.add_argument("--new-tokens", type=int, default=0, help="of generate; zero as above")
    asked = parser.parse_args()
    torch.set_num_threads(1)
    model = models.load(tiny.NAME)
    theirs = Qwen2VLForConditionalGeneration.from_pretrained(
        models.locate(tiny.NAME), trust_remote_code=False
    ).eval()
    rows = []
    for size_px, name, n_images in ROWS[:1] if asked.quick else ROWS:
        geometry = resolution.plan(size_px, name, TREATMENT)
        images = [resolution.apply(draw(size_px, seed=seed), geometry) for seed in range(n_images)]
        for n_questions in (1, 4):
            row = {
                "image": f"{size_px[0]} x {size_px[1]} {name}",
                "visual tokens": str(geometry.visual_tokens),
                "questions an image": str(n_questions),
            }
            n_rounds = 2 if asked.quick else asked.rounds
            sides = Asked(model, theirs, images, n_questions, asked.new_tokens)
            rows.append(row | compare(sides, n_rounds=n_rounds))
            print(".", end="", flush=True)
    print(f"\n{table(rows)}")


if __name__ == "__main__":
    main()
