"""What changes pixels, in one frozen value.

style    the value; start here
limits   what it may say
presets  by name
fit      a preset at the page size that a checkpoint sees unscaled
"""
