"""What each stage of training minimises. Losses only: no loop, no files."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from transformers import Glm4vForConditionalGeneration

from glyph_worker.nano import vocabulary as v
from glyph_worker.nano.configure import reader_config
from glyph_worker.nano.draw import cell_atlas, draw, normalise
from glyph_worker.nano.forward import packed_mask, read, see
from glyph_worker.nano.oracle import CONTEXT, SPAN, Oracle, windows
from glyph_worker.nano.pack import IGNORE, Batch

POINTER_WEIGHT = 0.3
DENSE_WEIGHT = 0.3
OWN = [*range(CONTEXT, CONTEXT + 4), *range(SPAN + CONTEXT, SPAN + CONTEXT + 4)]


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """A step's loss, its parts by name, and which target tokens were right (bool [targets])."""

    loss: Tensor
    parts: dict[str, float]
    right: Tensor | None = None


class Trainee(nn.Module):
    """The model with its throw-away helpers: the oracle and the dense head."""

    def __init__(self) -> None:
        super().__init__()
        config = reader_config()
        config._attn_implementation = "sdpa"
        self.model = Glm4vForConditionalGeneration(config)
        width = config.text_config.hidden_size
        self.oracle = Oracle(width)
        self.head = nn.Linear(width, 8 * v.VOCAB_SIZE)
        self.register_buffer("atlas", cell_atlas(), persistent=False)
        self.read = read
        self.see = see

    def fuse(self) -> None:
        """Fuse both halves; rows have few shapes, pages many."""
        self.read = torch.compile(read, dynamic=False)

    @property
    def device(self) -> torch.device:
        return self.head.weight.device

    def look(self, cells: Tensor) -> Tensor:
        """Visual tokens [pages * tokens, hidden] that the tower makes of pages of one height."""
        return self.see(self.model, normalise(draw(self.atlas, cells)))

    def dense(self, features: Tensor, cells: Tensor) -> tuple[Tensor, Tensor]:
        """(cross-entropy of the eight characters under each visual token, share right)."""
        logits = self.head(features).view(-1, v.VOCAB_SIZE).float()
        target = windows(cells)[..., OWN].reshape(-1)
        right = (logits.argmax(-1) == target).float().mean()
        return F.cross_entropy(logits, target), right

    # ── stages ──────────────────────────────────────────────────────────────────────────────────

    def eyes(self, cells: Tensor) -> Outcome:
        """The tower alone: name the characters, and make the oracle's features of them."""
        with torch.no_grad():
            ideal = self.oracle(cells)
        with self._autocast():
            features = self.look(cells)
            dense, right = self.dense(features, cells)
        apart = (features.float() - ideal).pow(2).mean() / ideal.pow(2).mean()
        return Outcome(
            loss=dense + apart,
            parts={"dense": dense.item(), "apart": apart.item(), "characters": right.item()},
        )

    def answers(self, batch: Batch, *, oracle: bool) -> Outcome:
        """The reader: every answer's next character, and where on the page it stands."""
        tokens, document, segment, target, positions = (
            torch.from_numpy(array).to(self.device)
            for array in (
                batch.tokens, batch.document, batch.segment, batch.target, batch.positions
            )
        )  # fmt: skip
        text = self.model.model.language_model
        embeds = text.embed_tokens(tokens)
        features, dense, right = self._features(batch, oracle=oracle)
        places = torch.from_numpy(np.concatenate(batch.places)).to(self.device)
        embeds = embeds.flatten(0, 1).index_copy(0, places, features).view(embeds.shape)
        cos, sin = text.rotary_emb(embeds, positions)
        mask = packed_mask(document, segment)
        with self._autocast():
            hidden, anchor, pointers = self.read(self.model, embeds, cos, sin, mask)
            chosen = target != IGNORE
            logits = F.linear(hidden[chosen], text.embed_tokens.weight).float()
        loss = F.cross_entropy(logits, target[chosen])
        start, point = self._places(batch, mask, anchor, pointers)
        parts = {"answer": loss.item(), "anchor": start.item(), "pointer": point.item()}
        total = loss + POINTER_WEIGHT * (start + point)
        if dense is not None and right is not None:
            parts |= {"dense": dense.item(), "characters": right.item()}
            total = total + DENSE_WEIGHT * dense
        return Outcome(loss=total, parts=parts, right=logits.argmax(-1) == target[chosen])

    def _places(
        self, batch: Batch, mask: Tensor, anchor: Tensor, pointers: list[Tensor]
    ) -> tuple[Tensor, Tensor]:
        """Losses of the heads that are shown where to look.

        Each of the eight characters of a visual token has a head of its own, upper line in the
        first pointer layer, lower line in the second. The head of the next character looks at its
        visual token, the seven others at the document's first token, so that the answer's
        character is simply what the heads copy.
        """
        pointer, slot, first, sink = (
            torch.from_numpy(array).to(self.device)
            for array in (batch.pointer, batch.slot, batch.anchor, batch.sink)
        )
        asked = first != IGNORE
        start = _look_at(anchor, mask, asked, first[asked][:, None])
        shown = pointer != IGNORE
        lost = torch.zeros_like(start)
        for layer, scores in enumerate(pointers):
            mine = slot[shown][:, None] == torch.arange(4, device=self.device) + 4 * layer
            goal = torch.where(mine, pointer[shown][:, None], sink[shown][:, None])
            lost = lost + _look_at(scores, mask, shown, goal)
        return start, lost

    def _features(
        self, batch: Batch, *, oracle: bool
    ) -> tuple[Tensor, Tensor | None, Tensor | None]:
        groups = [torch.from_numpy(cells).to(self.device) for cells in batch.cells]
        if oracle:
            return torch.cat([self.oracle(cells) for cells in groups]), None, None
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


def _look_at(scores: Tensor, mask: Tensor, chosen: Tensor, goal: Tensor) -> Tensor:
    """Cross-entropy of attention logits [rows, heads, length, length] at the chosen positions
    against the places [positions, heads] they should look at, summed over heads."""
    picked = scores.transpose(1, 2)[chosen].float()  # [positions, heads, length]
    picked = picked.masked_fill(~mask[:, 0][chosen][:, None], -1e4)
    heads = picked.shape[1]
    return F.cross_entropy(picked.flatten(0, 1), goal.flatten()) * heads
