"""What an architecture changes, one small file each, and nothing else. The map of this folder.

family       what a family must say
glm          GLM-4.1V, GLM-4.6V, GLM-OCR and Glyph
qwen2_5_vl   Qwen2.5-VL
qwen3_vl     Qwen3-VL
blip2        BLIP-2 on OPT
known        which of them a folder's configuration is of
pages        the page sizes that a checkpoint sees unscaled; light: no torch
"""
