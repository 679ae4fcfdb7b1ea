"""Marks with which models set their reasoning, and what they hold for their answer, apart."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Marks:
    """What a model writes around a part of its reply."""

    begin: str
    end: str
    heading: str = ""
    """What it writes right behind the beginning that is not part of the text."""

    def is_open_after(self, prompt: str) -> bool:
        """Return whether a prompt ends right behind the beginning, so that the reply continues it.

        >>> THINK.is_open_after("assistant: <think> "), THINK.is_open_after("<think> </think> ")
        (True, False)
        """
        ending = prompt.rstrip()
        if self.heading:
            ending = ending.removesuffix(self.heading).rstrip()
        return ending.endswith(self.begin)


THINK = Marks("<think>", "</think>")
"""Of Qwen and GLM, and of most models that others train to reason."""
ANSWER = Marks("<answer>", "</answer>")
BOX = Marks("<|begin_of_box|>", "<|end_of_box|>")
"""Of GLM, around the final answer, which may stand inside a sentence."""
