"""All glyphs of one style: which font has a character, how wide it is, its picture. No layout.

A slot is one glyph of one font. Slots are given out as characters are first seen; a picture is made
when a slot is first drawn at one of the four quarter-pixel phases.
"""

from __future__ import annotations

import struct
import threading

import numpy as np

from glyph_worker.render.fonts import marks
from glyph_worker.render.fonts.fontfile import FontFile
from glyph_worker.render.fonts.reference_numbers import as_poppler_reads
from glyph_worker.render.fonts.typeface import Glyph, Typeface
from glyph_worker.render.loops.blit import PHASES, STEP, Loops

_MAX_WORDS = 100_000
_LARGE = 50
"""Splash gives up quarter pixels for fonts whose bounding box is higher than this, in pixels."""


class Glyphs:
    """Fonts at one size: widths for layout (points), advances and pictures for drawing."""

    def __init__(
        self,
        fonts: tuple[FontFile, ...],
        font_size: float,
        scale: float,
        mono: FontFile | None = None,
    ) -> None:
        """mono: the monospaced font of what is set in cells; None: the first font."""
        self._mono = len(fonts) if mono is not None else 0
        self.fonts = fonts = (*fonts, mono) if mono is not None else fonts
        self.font_size = font_size
        self._lock = threading.RLock()  # threads share a style's glyphs; only new ones need it
        self.scale = scale
        self.faces = [Typeface(font, font_size * scale) for font in fonts]
        self.points = 0.001 * font_size
        """Points of a thousandth of the font size, as reportlab multiplies."""
        self._width_of: dict[str, float] = {}
        self._words: dict[str, float] = {}
        self._slots: dict[tuple[int, int], int] = {}
        self._slot_of = np.full(0x110000, -1, np.int32)
        self._source: list[tuple[int, int]] = []
        self.advance = np.zeros(0, np.float64)
        """Points from a slot's pen to the next, as poppler adds them up; float64[num_slots]."""
        self._thousandths = np.zeros(0, np.float64)
        self.picture_of = np.full(0, -1, np.int32)
        """Picture of slot * PHASES + phase, -1 until drawn; int32[num_slots * PHASES]."""
        self.pictures = Pictures()
        self.space = self.width_of(" ")
        self._space_slot = int(self.slots_of(" ")[0])
        main = fonts[self._mono]
        self.cell = self.points * main.thousandths(main.glyph_of.get(0x30, 0))
        """Points from cell to cell of the monospaced font."""

    def font_of(self, code: int) -> int | None:
        """Index of the first font that has a character, None when none has."""
        for number, font in enumerate(self.fonts):
            if code in font.glyph_of:
                return number
        return None

    def char_width(self, char: str) -> float:
        """Width of one character in thousandths of the font size, as reportlab scales it."""
        width = self._width_of.get(char)
        if width is None and char in marks.MARKS:
            width = self._width_of[char] = self._mark_width(marks.MARKS.index(char))
        if width is None:
            code = 0x20 if char == "\u00a0" else ord(char)
            number = self.font_of(code) or 0
            font = self.fonts[number]
            width = font.thousandths(font.glyph_of.get(code, 0))
            self._width_of[char] = width
        return width

    def width_of(self, word: str) -> float:
        """Width of a word in points."""
        width = self._words.get(word)
        if width is None:
            width = self.points * sum(map(self.char_width, word))
            if len(word) <= 64:
                if len(self._words) > _MAX_WORDS:
                    self._words.clear()
                self._words[word] = width
        return width

    def slots_of(self, text: str) -> np.ndarray:
        """Slots of a text, int32[len(text)]; every character must be in some font."""
        return self._known_or_met(np.frombuffer(text.encode("utf-32-le"), np.uint32))

    def mono_slots_of(self, text: str) -> np.ndarray:
        """The same in the monospaced font, where it has the character."""
        slots = self.slots_of(text).copy()
        known = self.fonts[self._mono].glyph_of
        for at, char in enumerate(text):
            glyph = known.get(0x20 if char == "\u00a0" else ord(char))
            if glyph is not None:
                slots[at] = self.slot(self._mono, glyph)
        return slots

    def _known_or_met(self, codes: np.ndarray) -> np.ndarray:
        slots: np.ndarray = self._slot_of[codes]
        if slots.min(initial=0) < 0:
            self._register(np.unique(codes[slots < 0]).tolist())
            slots = self._slot_of[codes]
        return slots

    def _register(self, codes: list[int]) -> None:
        with self._lock:
            for code in codes:
                if chr(code) in marks.MARKS:
                    self._slot_of[code] = self.slot(marks.FONT, marks.MARKS.index(chr(code)))
                    continue
                looked = 0x20 if code == 0xA0 else code
                number = self.font_of(looked) or 0
                self._slot_of[code] = self.slot(number, self.fonts[number].glyph_of.get(looked, 0))

    def widths_of(self, text: str) -> np.ndarray:
        """Layout widths in points of a text's characters, float64[len(text)]."""
        codes = np.frombuffer(text.encode("utf-32-le"), np.uint32)
        widths = self.thousandths_of(codes)
        widths *= self.points
        return widths

    def thousandths_of(self, codes: np.ndarray) -> np.ndarray:
        """The same in thousandths of the font size, for code points uint32[n]."""
        slots = self._known_or_met(codes)  # first: a new character makes a new table
        widths: np.ndarray = self._thousandths[slots]
        return widths

    def slot(self, number: int, glyph: int) -> int:
        """Slot of a glyph of font `number`."""
        known = self._slots.get((number, glyph))
        if known is not None:
            return known
        with self._lock:
            if (number, glyph) not in self._slots:
                self._slots[number, glyph] = self._new_slot(number, glyph)
        return self._slots[number, glyph]

    def _new_slot(self, number: int, glyph: int) -> int:
        slot = len(self._source)
        self._source.append((number, glyph))
        if slot >= len(self.advance):
            grown = max(256, 2 * slot)
            self.advance = np.resize(self.advance, grown)
            self._thousandths = np.resize(self._thousandths, grown)
            more = np.full(grown * PHASES, -1, np.int32)
            more[: len(self.picture_of)] = self.picture_of
            self.picture_of = more
        is_mark = number == marks.FONT
        width = self._mark_width(glyph) if is_mark else self.fonts[number].thousandths(glyph)
        self.advance[slot] = as_poppler_reads(width) * 0.001 * self.font_size
        self._thousandths[slot] = width
        return slot

    def _mark_width(self, index: int) -> float:
        """Thousandths of the font size; whole pixels on the page, and what keeps a rounding error
        from drawing two marks into each other."""
        advance = marks.picture(index, self.font_size * self.scale).advance + 0.01
        return advance / self.scale / self.points

    def steps_of(
        self, codes: np.ndarray, counts: np.ndarray, spaces: np.ndarray, loops: Loops
    ) -> tuple[np.ndarray, np.ndarray]:
        """Slots and steps of lines of characters, as loops.step gives them; all get a slot."""
        space = self._space_slot
        slots, steps = loops.step(codes, self._slot_of, self.advance, counts, spaces, space)
        if len(slots) and slots.min() < 0:
            self._register(np.unique(codes[slots < 0]).tolist())
            slots, steps = loops.step(codes, self._slot_of, self.advance, counts, spaces, space)
        return slots, steps

    def pictures_of(self, keys: np.ndarray) -> np.ndarray:
        """Pictures by slot * PHASES + phase, int32[n]; draws those not seen before."""
        found: np.ndarray = self.picture_of[keys]
        if found.min(initial=0) < 0:
            self._draw(np.unique(keys[found < 0]).tolist())
            found = self.picture_of[keys]
        return found

    def _draw(self, keys: list[int]) -> None:
        with self._lock:
            missing = [key for key in keys if self.picture_of[key] < 0]
            for number, face in enumerate(self.faces):
                wanted = [(self._source[key // PHASES], key % PHASES) for key in missing]
                face.prepare([(slot[1], phase) for slot, phase in wanted if slot[0] == number])
            for key in missing:
                number, glyph = self._source[key // PHASES]
                picture: Glyph | marks.Mark
                if number == marks.FONT:  # on whole pixels, at every phase
                    picture = marks.picture(glyph, self.font_size * self.scale)
                else:
                    picture = self.faces[number].glyph(glyph, key % PHASES)
                self.picture_of[key] = self.pictures.add(
                    picture.coverage, picture.left, picture.top
                )

    def has_phases(self) -> bool:
        """Whether glyphs sit on quarter pixels at this size, as Splash decides it."""
        font = self.fonts[0]
        _, y_min, _, y_max = struct.unpack_from(">4h", font.tables["head"], 36)
        size = self.font_size * self.scale
        return bool((y_max - y_min) * size / font.units_per_em + 3 <= _LARGE)


class Pictures:
    """Coverage bitmaps in one flat buffer, so that compiled code can walk them."""

    def __init__(self) -> None:
        self.count = 0
        self.coverage = np.zeros(65_536, np.uint8)
        """Rows of all pictures, one after the other, each padded to whole steps."""
        self.box = np.zeros((256, 5), np.int32)
        """offset in `coverage`, rows, columns, left of the pen, top of the baseline; int32[n, 5]"""
        self._filled = 0

    def add(self, coverage: np.ndarray, left: int, top: int) -> int:
        """Keep a picture; returns its number."""
        rows, columns = coverage.shape
        stride = -(-columns // STEP) * STEP
        while self._filled + rows * stride > len(self.coverage):
            self.coverage = np.concatenate([self.coverage, np.zeros_like(self.coverage)])
        if self.count == len(self.box):
            self.box = np.concatenate([self.box, np.zeros_like(self.box)])
        place = self.coverage[self._filled : self._filled + rows * stride]
        place.reshape(rows, stride)[:, :columns] = coverage
        self.box[self.count] = (self._filled, rows, columns, left, top)
        self._filled += rows * stride
        self.count += 1
        return self.count - 1
