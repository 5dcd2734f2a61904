"""What vLLM lacks to take GLM's page features. vLLM calls it in each of its processes.

The model half takes image embeddings for GLM as for Qwen; only the parser of a prompt's pictures
does not know the two names they come under and takes them for two pictures. (vLLM 0.32.)
"""

from __future__ import annotations

from typing import Any


def register() -> None:
    """The entry point `vllm.general_plugins`. Changes nothing where vLLM has mended it."""
    from vllm.model_executor.models.glm4_1v import Glm4vProcessingInfo
    from vllm.model_executor.models.qwen2_vl import Qwen2VLMultiModalDataParser

    plain = Glm4vProcessingInfo.get_data_parser
    if getattr(plain, "takes_features", False):
        return

    def get_data_parser(self: Any) -> Any:
        parser = plain(self)
        if isinstance(parser, Qwen2VLMultiModalDataParser):
            return parser
        return Qwen2VLMultiModalDataParser(
            self.get_hf_config().vision_config.spatial_merge_size,
            video_needs_metadata=True,
            expected_hidden_size=self._get_expected_hidden_size(),
        )

    get_data_parser.takes_features = True  # type: ignore[attr-defined]
    Glm4vProcessingInfo.get_data_parser = get_data_parser
