"""Examines this installation: versions, Redis, model, device, fonts, workers; a fix per fault.

Who calls in: the command line and the documentation. What leaves: findings. In reading order:

checks    all in the order in which one would mend what they find; start here
finding   what a check says
machine   packages, device, compiler, model, style: what is here
backend   who is to answer, and whether it could
servers   broker, cache, workers, gateway, Flower, collector: whom it can reach
listing   every setting, its value, its meaning
"""

from glyph_worker.doctor.checks import examine
from glyph_worker.doctor.finding import Finding
from glyph_worker.doctor.listing import describe_settings

__all__ = ["Finding", "describe_settings", "examine"]
