"""What vLLM lacks for us. vLLM calls it in each of its processes.

Its engine outlives a worker that was killed, with all of a GPU's memory, so that no other worker
could start there: as our child it dies with us. And it takes no page features of GLM: the model
half takes image embeddings as Qwen's does, and only the parser of a prompt's pictures does not know
the two names they come under and takes them for two pictures. (vLLM 0.32.)
"""

from __future__ import annotations

import ctypes
import os
import signal
from typing import Any

PARENT = "_GLYPH_ANSWER_WORKER"
"""Process id of the answer worker, for vLLM's processes beneath it. No setting."""
_PR_SET_PDEATHSIG = 1  # prctl(2)


def register() -> None:
    """The entry point `vllm.general_plugins`."""
    _die_with_parent()
    _take_glm_features()


def _die_with_parent() -> None:
    worker = os.environ.get(PARENT)
    if worker is None or int(worker) == os.getpid():
        return
    parent = os.getppid()
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:  # it died before
        os.kill(os.getpid(), signal.SIGKILL)


def _take_glm_features() -> None:
    """Changes nothing where vLLM has mended it."""
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
