"""What changes pixels, in one frozen value. style, its limits, the presets by name."""
