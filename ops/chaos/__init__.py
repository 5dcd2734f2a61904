"""Breaks a running service on purpose, and proves from its own history that no job was harmed.

run → command → session → plan (what will happen, from a seed) → driver (makes it happen, with its
records on the broker) → crew and faults (processes, each a child, and what is done to them) →
history (what is then true) → report. Beside them: link, disk, clock, namespaces (with relay),
address (of two gateways), follow (the gateway and its readers), before (the version before).
"""
