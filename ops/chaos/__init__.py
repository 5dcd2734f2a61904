"""Breaks a running service on purpose, and proves from its own history that no job was harmed.

run → command → session → plan (what will happen, from a seed) → driver (makes it happen) → crew
and faults (processes and what is done to them) → history (what is then true) → report. Beside
them: link, disk, clock, namespaces (with relay), follow (the gateway and its readers), before (the
version before).
"""
