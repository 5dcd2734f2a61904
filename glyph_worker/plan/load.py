"""The load to plan for: what people send, and how often it was seen before."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict, Field

DAY_S = 86_400


class Load(BaseModel):
    """One day of jobs. A job is one question on one document."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)

    documents_per_day: float = Field(gt=0)
    """Documents that questions come for, each counted once a day."""
    pages: float = Field(default=10, gt=0)
    """Pages of a document."""
    questions: float = Field(default=5, ge=1)
    """Questions on a document."""
    page_tokens: float = Field(default=630, gt=0)
    """Visual tokens of a page."""
    page_chars: float = Field(default=3_000, gt=0)
    """Bytes of text on a page."""
    question_tokens: float = Field(default=40, gt=0)
    """Tokens of a question with its frame."""
    answer_tokens: float = Field(default=64, gt=0)
    """Tokens of an answer."""
    hit_rate: float = Field(default=0.0, ge=0, le=1)
    """Share of a day's documents whose page features lie in the cache server already."""
    prefix_hit_rate: float = Field(default=0.9, ge=0, le=1)
    """Share of a document's later questions that find its keys and values on their worker."""
    peak: float = Field(default=3.0, ge=1)
    """The busiest hour over the mean of the day."""

    @property
    def jobs_per_s(self) -> float:
        """In the busiest hour."""
        return self.documents_per_s * self.questions

    @property
    def documents_per_s(self) -> float:
        """In the busiest hour."""
        return self.documents_per_day / DAY_S * self.peak

    @property
    def new_pages(self) -> float:
        """Pages of one document that must be drawn and encoded."""
        return self.pages * (1 - self.hit_rate)

    @property
    def num_prefills(self) -> float:
        """How often a document's pages are prefilled for all its questions."""
        return 1 + (self.questions - 1) * (1 - self.prefix_hit_rate)

    @property
    def fetched_pages(self) -> float:
        """Pages of one document whose features are read from the cache server."""
        return self.pages * self.num_prefills - self.new_pages
