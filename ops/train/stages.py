"""What each stage of training minimises. Losses only: no loop, no files."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from transformers import Glm4vForConditionalGeneration

from glyph_worker.model.formats import device_formats
from train import vocabulary as v
from train.attention_targets import FIRST_WEIGHT
from train.configure import reader_config
from train.draw import cell_atlas, draw, normalise
from train.forward import Block, block, packed_mask, read, see
from train.ideal_tokens import SLOTS, Oracle, windows
from train.packing import IGNORE, Batch

LOOK_WEIGHT = 0.3
ASKED = 8  # of so many positions, taught heads are asked at one
DENSE_WEIGHT = 0.3
PART_WEIGHT = 1.0  # an answer's end and every space in it, where it might have ended, count twice
APART_WEIGHT = 3.0


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
        self.block: Block = block

    def fuse(self) -> None:
        """Fuse the reading half, a layer at a time; rows have a few shapes, pages many."""
        torch._dynamo.config.recompile_limit = 64
        self.block = torch.compile(block, dynamic=False)

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
            asked, due = self._asked(batch)
            hidden, looks = read(self.model, embeds, cos, sin, mask, asked, self.block)
            chosen = target != IGNORE
            logits = F.linear(hidden[chosen], text.embed_tokens.weight).float()
        begins = _begins(chosen)
        parting = torch.isin(target, torch.tensor([v.SPACE, *v.END], device=self.device))
        weight = 1 + (FIRST_WEIGHT * begins + PART_WEIGHT * parting)[chosen]
        loss = (F.cross_entropy(logits, target[chosen], reduction="none") * weight).sum()
        loss = loss / weight.sum()
        missed = {
            layer: -(looks[layer] * due[layer]).sum() / due[layer].amax(1).sum() for layer in looks
        }
        parts = {"answer": loss.item()}
        parts |= {f"look{layer}": value.item() for layer, value in missed.items()}
        total = loss + LOOK_WEIGHT * torch.stack(list(missed.values())).sum()
        if dense is not None and right is not None:
            parts |= {"dense": dense.item(), "characters": right.item()}
            total = total + DENSE_WEIGHT * dense
        return Outcome(loss=total, parts=parts, right=logits.argmax(-1) == target[chosen])

    def _asked(self, batch: Batch) -> tuple[dict[int, tuple[Tensor, Tensor]], dict[int, Tensor]]:
        """A drawn part of the positions at which taught heads are due, at most every `ASKED`th of a
        row: per layer (positions [rows, asked], goals there [rows, heads, asked, places]), and what
        is due there. To compare every position's attention with its goals would cost as much as the
        attention itself.
        """
        random = torch.Generator().manual_seed(int(batch.tokens.sum()))
        questions, parts = {}, {}
        for layer in batch.goals:
            goals, due = torch.from_numpy(batch.goals[layer]), torch.from_numpy(batch.due[layer])
            some = due.amax(1)
            drawn = torch.rand(some.shape, generator=random) * (some > 0)
            where = drawn.topk(some.shape[1] // ASKED, dim=1).indices
            there = where[:, None]
            goals = goals.take_along_dim(there[..., None], 2).to(self.device)
            questions[layer] = (where.to(self.device), goals)
            parts[layer] = due.take_along_dim(there, 2).to(self.device)
        return questions, parts

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
        fast = "bfloat16" in device_formats(self.device)
        return torch.autocast(self.device.type, torch.bfloat16, enabled=fast)


def _begins(learned: Tensor) -> Tensor:
    """True where a run of learned positions begins; same shape."""
    return learned & ~F.pad(learned[..., :-1], (1, 0))
