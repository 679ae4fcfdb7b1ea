"""How many tokens of an image a server says that it has read."""

import asyncio
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from medres.inference import replies
from medres.inference.ways import PROBE, Asking
from medres.models.server import Traffic
from medres.resolution import Geometry

MOST_MARKS = 8
"""Tokens beside the visual ones that a family may write around any image."""


class Counted:
    """Counts of a server's image tokens, by the best that it tells.

    These are, in this order: the image tokens of its usage; those among the tokens of the prompt;
    the tokens of the prompt less those of the same prompt without image, one request for each
    question text.
    """

    def __init__(self, asking: Asking, image_token_id: int | None, path: Path) -> None:
        self.asking = asking
        self.image_token_id = image_token_id
        self.n_marks = 0
        """Tokens that are written around any image, where a count does not tell them apart."""
        self._without: dict[str, asyncio.Task[int | None]] = {}
        self._path = path
        """Where the tokens of texts alone are kept for a run that goes on after a kill."""
        self._kept: dict[str, int] = {}
        for line in path.read_bytes().splitlines() if path.is_file() else ():
            try:
                question, n_tokens = json.loads(line)
                self._kept[str(question)] = int(n_tokens)
            except (ValueError, TypeError):  # torn by a kill
                continue

    async def calibrate(self, images: Sequence[tuple[Geometry, Sequence[bytes]]]) -> None:
        """Find the marks around an image, and whether images are read at all.

        Args:
            images: Two of different sizes.

        Raises:
            RefusedError: If the server takes no image.
            ValueError: If it counts none.
        """
        beyond, counts = [], []
        for geometry, image in images:
            said = await self.asking.prompt("trying an image", PROBE, image, Traffic())
            count = await self._count("trying an image", said, PROBE, Traffic(), 1)
            if count is None:
                return
            counts.append(count)
            planned = geometry.visual_tokens + _marks(geometry)
            beyond.append(count - planned if geometry.visual_tokens else 0)
        if max(counts) <= 0:
            address = self.asking.server.address
            raise ValueError(
                f"model {address.name!r} of {address.url} reads no images: its prompt has as many "
                "tokens with one as without; serve a model that sees, with its projector if it "
                "has one"
            )
        if len(set(beyond)) == 1 and 0 <= beyond[0] <= MOST_MARKS:
            self.n_marks = beyond[0]

    async def tokens(
        self,
        about: str,
        said: Mapping[str, Any],
        question: str,
        geometry: Geometry,
        traffic: Traffic,
    ) -> int | None:
        """Return the visual tokens that a server reports, marks left out; None if it does not.

        Args:
            about: For messages.
            said: The server's answer.
            question: Text of the prompt, with what it says of several images.
            geometry: As planned.
            traffic: To add to.
        """
        count = await self._count(about, said, question, traffic, len(geometry.each))
        if count is None:
            return None
        # Marks of rows and tiles count as the image's where they are planned.
        return (
            count - _marks(geometry)
            if count == geometry.visual_tokens + _marks(geometry)
            else (count)
        )

    async def _count(
        self, about: str, said: Mapping[str, Any], question: str, traffic: Traffic, n_images: int
    ) -> int | None:
        n_marks = n_images * self.n_marks
        details = replies.usage_of(said).get("prompt_tokens_details")
        details = details if isinstance(details, dict) else {}
        by_kind = details.get("multimodal_tokens")  # vLLM's name from 0.32 on
        found = by_kind.get("image") if isinstance(by_kind, dict) else details.get("image_tokens")
        if isinstance(found, int):
            return max(0, found - n_marks)
        prompt = replies.prompt_tokens(said)
        if prompt and self.image_token_id in prompt.ids:
            return prompt.ids.count(self.image_token_id or 0)
        whole = replies.usage_of(said).get("prompt_tokens")
        if not isinstance(whole, int):
            return None
        # Kept as a task, so that questions with one text wait for one request.
        if question not in self._without:
            self._without[question] = asyncio.create_task(self._text(about, question, traffic))
        without = await self._without[question]
        return None if without is None else max(0, whole - without - n_marks)

    async def _text(self, about: str, question: str, traffic: Traffic) -> int | None:
        if question in self._kept:
            return self._kept[question]
        said = await self.asking.prompt(about, question, (), traffic)
        found = replies.usage_of(said).get("prompt_tokens")
        if not isinstance(found, int):
            return None
        with self._path.open("a") as file:
            file.write(json.dumps([question, found]) + "\n")
        return found


def _marks(geometry: Geometry) -> int:
    return geometry.layout.mark_tokens if geometry.layout else 0
