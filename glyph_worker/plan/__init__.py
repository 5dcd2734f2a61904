"""How many workers, how much memory and what bandwidth a load needs. Arithmetic only: no I/O.

load      what people send, and how often it was seen before
device    what one answer worker's device does, in seconds for each piece of work
capacity  from both to a fleet
"""
