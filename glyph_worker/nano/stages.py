"""What each stage of training minimises. Losses only: no loop, no files."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from transformers import Glm4vForConditionalGeneration

from glyph_worker.nano import vocabulary as v
from glyph_worker.nano.configure import (
    ANCHOR_LAYERS,
    BEFORE_LAYER,
    FINDERS,
    KEYED_LAYER,
    LOCATE_LAYER,
    POINTER_LAYERS,
    reader_config,
)
from glyph_worker.nano.draw import cell_atlas, draw, normalise
from glyph_worker.nano.forward import packed_mask, read, see
from glyph_worker.nano.oracle import SLOTS, Oracle, windows
from glyph_worker.nano.pack import IGNORE, Batch

LOOK_WEIGHT = 0.3
ASKED = 4  # of so many positions, taught heads are asked at one
DENSE_WEIGHT = 0.3
APART_WEIGHT = 3.0
FIRST_WEIGHT = 3.0  # an answer's first character counts four times: to find it is the hard part
PAGES_TOLD = 8  # from this page on, all pages look alike
NOWHERE_WEIGHT = 0.2  # of what stands nowhere in the document: easy, and most of a question


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """A step's loss, its parts by name, and which target tokens were right (bool [targets])."""

    loss: Tensor
    parts: dict[str, float]
    right: Tensor | None = None


class Trainee(nn.Module):
    """The model with its throw-away helpers: the oracle and the dense head."""

    atlas: Tensor

    def __init__(self) -> None:
        super().__init__()
        config = reader_config()
        config._attn_implementation = "sdpa"
        self.model = Glm4vForConditionalGeneration(config)
        width = config.text_config.hidden_size
        self.oracle = Oracle(width)
        self.head = nn.Linear(width, SLOTS * v.VOCAB_SIZE)
        self.register_buffer("atlas", cell_atlas(), persistent=False)
        self.read = read

    def fuse(self) -> None:
        """Fuse the reading half; rows have a few shapes, pages many."""
        torch._dynamo.config.recompile_limit = 32
        self.read = torch.compile(read, dynamic=False)

    @property
    def device(self) -> torch.device:
        return self.head.weight.device

    def look(self, cells: Tensor) -> Tensor:
        """Visual tokens [pages * tokens, hidden] that the tower makes of pages of one height."""
        return see(self.model, normalise(draw(self.atlas, cells)))

    def dense(self, features: Tensor, cells: Tensor) -> tuple[Tensor, Tensor]:
        """(cross-entropy of the eight characters under each visual token, share right)."""
        logits = self.head(features).view(-1, v.VOCAB_SIZE).float()
        target = windows(cells).reshape(-1)
        right = (logits.argmax(-1) == target).float().mean()
        return F.cross_entropy(logits, target), right

    # ── stages ──────────────────────────────────────────────────────────────────────────────────

    def eyes(self, cells: Tensor) -> Outcome:
        """The tower alone: name the characters, and make the oracle's features of them."""
        ideal = self.oracle(cells)
        with self._autocast():
            features = self.look(cells)
            dense, right = self.dense(features, cells)
        features = features.float()
        apart = (features - ideal).pow(2).sum() / (ideal - ideal.mean(0)).pow(2).sum()
        misplaced = self.oracle.misplaced(features, ideal)
        return Outcome(
            loss=dense + APART_WEIGHT * apart + misplaced,
            parts={
                "dense": dense.item(),
                "apart": apart.item(),
                "misplaced": misplaced.item(),
                "characters": right.item(),
            },
        )

    def answers(self, batch: Batch, stage: str) -> Outcome:
        """The reader: every answer's next character, and where on the page it stands."""
        tokens, document, segment, target, positions = (
            torch.from_numpy(array).to(self.device)
            for array in (
                batch.tokens, batch.document, batch.segment, batch.target, batch.positions
            )
        )  # fmt: skip
        text = self.model.model.language_model
        embeds = text.embed_tokens(tokens)
        features, dense, right = self._features(batch, stage)
        places = torch.from_numpy(np.concatenate(batch.places)).to(self.device)
        embeds = embeds.flatten(0, 1).index_copy(0, places, features).view(embeds.shape)
        cos, sin = text.rotary_emb(embeds, positions)
        mask = packed_mask(document, segment)
        with self._autocast():
            goals, due = _asked(*self._goals(batch), seed=int(batch.tokens.sum()))
            hidden, looks = self.read(self.model, embeds, cos, sin, mask, goals)
            chosen = target != IGNORE
            logits = F.linear(hidden[chosen], text.embed_tokens.weight).float()
        begins = _begins(chosen)
        weight = 1 + FIRST_WEIGHT * begins[chosen].float()
        loss = (F.cross_entropy(logits, target[chosen], reduction="none") * weight).sum()
        loss = loss / weight.sum()
        missed = {layer: -(looks[layer] * due[layer]).sum() / due[layer].sum() for layer in looks}
        parts = {"answer": loss.item()}
        parts |= {f"look{layer}": value.item() for layer, value in missed.items()}
        total = loss + LOOK_WEIGHT * torch.stack(list(missed.values())).sum()
        if dense is not None and right is not None:
            parts |= {"dense": dense.item(), "characters": right.item()}
            total = total + DENSE_WEIGHT * dense
        return Outcome(loss=total, parts=parts, right=logits.argmax(-1) == target[chosen])

    def _goals(self, batch: Batch) -> tuple[dict[int, Tensor], dict[int, Tensor]]:
        """Where the taught heads should look (row indices [rows, heads, length]) and the
        positions [rows, 1, length] at which it is asked of them, per layer.

        In the first layer three heads look one, two and three tokens back, so that a token of text
        knows what was just written, and a visual token what stands left of it; a fourth tells it
        its page (see `told_page`). In the second, six heads (one a line and column) find in the
        document what was just written, by its last four characters. In the third, two heads of the
        answer look at the question's word that stands beside it and at the one that stands above it
        (a table's column); in the fourth one looks at its beginning, in the fifth one looks there
        again, knowing what the fourth found. Each of the eight characters of a visual token has a
        head of its own, upper line in the first pointer layer, lower line in the second: the head
        of the next character looks at its visual token, the others at the document's first token,
        so the answer is simply what they copy.
        """
        pointer, slot, first, keyed, above, sink, located, finder, segment = (
            torch.from_numpy(array).to(self.device)[:, None]
            for array in (
                batch.pointer,
                batch.slot,
                batch.anchor,
                batch.keyed,
                batch.above,
                batch.sink,
                batch.located,
                batch.finder,
                batch.segment,
            )
        )
        here = torch.arange(segment.shape[2], device=self.device)
        inside = (segment > 0) & (segment == F.pad(segment[..., :-3], (3, 0)))
        image = torch.from_numpy(batch.tokens == v.IMAGE).to(self.device)[:, None]
        row = torch.from_numpy(batch.positions[1]).to(self.device)[:, None]
        inside |= image & F.pad(image[..., :-3] & (row[..., :-3] == row[..., 3:]), (3, 0))
        back = (here - torch.arange(1, 4, device=self.device)[:, None]).clamp(min=0)
        columns = torch.arange(4, device=self.device)[:, None]
        finders = torch.arange(FINDERS, device=self.device)[:, None]
        keys = torch.cat((keyed, above), 1)
        paged = told_page(batch)[:, None].to(self.device)
        goals = {
            LOCATE_LAYER: torch.where(finder == finders, located, sink).clamp(min=0),
            BEFORE_LAYER: torch.cat((back.expand(len(segment), -1, -1), paged), 1),
            KEYED_LAYER: keys.clamp(min=0),
        }
        asked = first != IGNORE
        due = {
            LOCATE_LAYER: (located != IGNORE) * torch.where(finder < 0, NOWHERE_WEIGHT, 1.0),
            BEFORE_LAYER: torch.cat((*[inside] * len(back), image), 1),
            KEYED_LAYER: (keys != IGNORE) * (1 + FIRST_WEIGHT * _begins(asked)),
        }
        for layer in ANCHOR_LAYERS:
            goals[layer] = first.clamp(min=0)
            due[layer] = asked * (1 + FIRST_WEIGHT * _begins(asked))
        for number, layer in enumerate(POINTER_LAYERS):
            mine = slot == columns + 4 * number
            goals[layer] = torch.where(mine, pointer, sink).clamp(min=0)
            due[layer] = (pointer != IGNORE) * (1 + FIRST_WEIGHT * _begins(asked))
        return goals, {layer: where.float() for layer, where in due.items()}

    def _features(self, batch: Batch, stage: str) -> tuple[Tensor, Tensor | None, Tensor | None]:
        groups = [torch.from_numpy(cells).to(self.device) for cells in batch.cells]
        if stage == "reader":
            with torch.no_grad(), self._autocast():
                return torch.cat([self.look(cells).float() for cells in groups]), None, None
        features, losses, rights = [], [], []
        with self._autocast():
            for cells in groups:
                made = self.look(cells)
                dense, right = self.dense(made, cells)
                features.append(made.float())
                losses.append(dense * len(made))
                rights.append(right * len(made))
        seen = torch.cat(features)
        return seen, torch.stack(losses).sum() / len(seen), torch.stack(rights).sum() / len(seen)

    def _autocast(self) -> torch.autocast:
        return torch.autocast(self.device.type, torch.bfloat16)


def _asked(
    goals: dict[int, Tensor], due: dict[int, Tensor], *, seed: int
) -> tuple[dict[int, tuple[Tensor, Tensor]], dict[int, Tensor]]:
    """A drawn part of the positions that are due, at most every `ASKED`th of a row: per layer
    (positions [rows, asked], goals there [rows, heads, asked]), and what is due there. To compare
    every position's attention with its goal would cost as much as the attention itself.
    """
    random = torch.Generator().manual_seed(seed)
    questions, parts = {}, {}
    for layer, goal in goals.items():
        some = due[layer].amax(1)
        drawn = torch.rand(some.shape, generator=random).to(some.device) * (some > 0)
        where = drawn.topk(some.shape[1] // ASKED, dim=1).indices
        there = where[:, None]
        questions[layer] = (where, goal.take_along_dim(there, 2))
        parts[layer] = due[layer].take_along_dim(there, 2)
    return questions, parts


def told_page(batch: Batch) -> Tensor:
    """Where the head that tells a visual token its page looks: row indices [rows, length].

    At the document's first token or, the oftener the later the page, at the page's own opening:
    both look alike on every page, but their shares tell its number. Drawn at random, so that the
    share is what is learned. Rotary attention knows distances only; without the number, a key found
    on one page led to the same line of another.
    """
    tokens, sink = torch.from_numpy(batch.tokens), torch.from_numpy(batch.sink)
    opens = tokens == v.PAGE_OPEN
    opening = torch.where(opens, torch.arange(tokens.shape[1]), 0).cummax(1).values
    page = opens.cumsum(1) - opens.cumsum(1).gather(1, sink) - 1  # of its document, from 0
    random = torch.Generator().manual_seed(int(batch.tokens.sum()))
    drawn = torch.rand(tokens.shape, generator=random)
    return torch.where(drawn * PAGES_TOLD < page, opening, sink)


def _begins(learned: Tensor) -> Tensor:
    """True where a run of learned positions begins; same shape."""
    return learned & ~F.pad(learned[..., :-1], (1, 0))
