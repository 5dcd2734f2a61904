"""How many workers, how much memory and what bandwidth a load needs. Arithmetic only: no I/O."""
