"""Pages as pixels (raster), as checked bytes for the cache (wire), as PNG files (preview)."""
