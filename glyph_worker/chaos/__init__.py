"""Breaks a running service on purpose, and proves from its own history that no job was harmed.

plan (what will happen, from a seed) → driver (makes it happen) → crew and faults (processes and
what is done to them) → history (what is then true) → report.
"""
