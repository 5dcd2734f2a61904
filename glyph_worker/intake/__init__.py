"""What people bring (text, HTML, PDF) becomes a Document. Knows no HTTP, no queue and no page.

Untrusted markup is read in a process of its own (`child`), bounded in CPU time and memory.
"""
