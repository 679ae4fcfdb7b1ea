"""glance-vlm: options compared at one token, an image read once for all its questions."""

import functools
import itertools

import service


@functools.cache
def loaded(checkpoint: str, image_tokens: int):  # type: ignore[no-untyped-def]
    """Return its front, with the checkpoint as the tier of this machine."""
    from glance import Glance
    from glance.config import load_config

    tier = {
        "id": checkpoint,
        "revision": "main",
        "dtype": "float32",
        "image_token_budget": image_tokens,
    }
    changes = {
        "models": {"vlm_tiers": {"own": tier}, "tier_override": "own"},
        "vlm": {"prefix_cache": True},
        "limits": {"max_side": 100_000},
    }
    return Glance(config=load_config(None, changes), calibrated=False)


def answer(task: service.Task) -> service.Result:
    """Return the option with the most probability for each question."""
    front = loaded(task["checkpoint"], min(task["max_pixels"] // 28**2, 16_384))

    def all_chosen() -> list[str]:
        chosen = []
        for image, group in itertools.groupby(
            task["conversations"], key=lambda each: each["image"]
        ):
            questions = {
                f"q{number}": {
                    "type": "choice",
                    "instructions": each["question"],
                    "criteria": dict.fromkeys(each["options"].split("|")),
                }
                for number, each in enumerate(group)
            }
            answers = front.ask(image, questions)["answers"]
            for name in questions:
                shares = answers[name]["probabilities"]
                chosen.append(max(shares, key=shares.get))
        return chosen

    chosen, cpu_s = service.timed(all_chosen)
    return {"chosen": chosen, "cpu_s": cpu_s}


if __name__ == "__main__":
    service.one_thread()
    service.serve({"answer": answer})
