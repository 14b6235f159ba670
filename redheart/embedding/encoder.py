"""The sentence encoder: texts to vectors, in batches of like length, within the memory at hand."""

from __future__ import annotations

import gc
import os
from collections.abc import Sequence
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from redheart.data import Situation
from redheart.embedding.model_source import ModelSource
from redheart.embedding.segments import Offsets, Part, Segment, SegmentationLimits, segment_situation
from redheart.errors import ConfigError, MissingRequirement, OutOfMemory
from redheart.machine.memory_errors import is_out_of_memory, memory_of
from redheart.messages import debug, warn

#: Segments a forward pass on a CPU. With its batches sorted by length, 16 is faster than 64: less padding, and the
#: activations stay in the cache (measured with all-MiniLM-L6-v2 on 2 cores: 3.3 s against 4.4 s for 723 segments).
_CPU_PASS = 16
_UNKNOWN_LIMIT = 512


class Encoder:
    """A loaded sentence encoder.

    Attributes:
        d_embed: size of its vectors.
        part_pieces: word pieces that it reads at once, its own special ones and the prompt aside.
        precision: what it computes in, ``fp32`` or ``bf16``. The vectors are float32 in either case.
    """

    def __init__(
        self,
        source: ModelSource,
        *,
        batch_size: int = 64,
        precision: Literal["auto", "fp32", "bf16"] = "auto",
        device: str | None = None,
    ) -> None:
        """Loads the model from disk; nothing is downloaded.

        Args:
            batch_size: segments per forward pass (a CPU takes fewer).
            precision: ``auto``: bf16 on a CUDA device, fp32 elsewhere.
            device: None: the current CUDA device if there is one, else the CPU.

        Raises:
            ConfigError: the prompt leaves no room for a text.
            MissingRequirement: the folder does not hold a model that can be loaded.
        """
        # Set before the tokenizers start: data workers forked later would otherwise each print a warning about it.
        os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
        import torch
        from sentence_transformers import SentenceTransformer
        from transformers.utils.logging import disable_progress_bar

        disable_progress_bar()  # type: ignore[no-untyped-call]  # of a quarter of a second
        self._torch = torch
        device = device or ("cuda" if torch.cuda.is_available() else "cpu")
        try:
            model = SentenceTransformer(str(source.folder), device=device, local_files_only=True)
        except Exception as error:  # a damaged or foreign folder fails in as many ways as there are libraries below
            raise MissingRequirement(
                f"embedding model {source.name!r}: {source.folder} could not be loaded: {type(error).__name__}: {error}"
            ) from error
        if not getattr(model.tokenizer, "is_fast", False):
            raise MissingRequirement(
                f"embedding model {source.name!r}: found no fast tokenizer; wanted a tokenizer.json in {source.folder}, "
                "which tells where in the text each word piece lies"
            )
        on_cpu = str(model.device).startswith("cpu")
        self.precision: Literal["fp32", "bf16"] = (
            "fp32" if precision == "fp32" or (precision == "auto" and on_cpu) else "bf16"
        )
        # In either case said aloud: weights stored as fp16 would be computed with as they are, slowly on a CPU.
        model = model.bfloat16() if self.precision == "bf16" else model.float()
        self._name = source.name
        self._model: Any = model.eval()
        self._tokenizer: Any = model.tokenizer
        self._normalises = any(type(module).__name__ == "Normalize" for module in model)
        self._pass_size = min(batch_size, _CPU_PASS) if on_cpu else batch_size
        limit = model.max_seq_length or min(self._tokenizer.model_max_length, _UNKNOWN_LIMIT)
        reads = int(limit) - int(self._tokenizer.num_special_tokens_to_add(pair=False))
        self._prompt = {} if source.prompt is None else {"prompt": source.prompt}
        prompt_pieces = sum(len(self._tokenizer.tokenize(prompt)) for prompt in self._prompt.values())
        self.part_pieces = reads - prompt_pieces
        if prompt_pieces > reads // 2:
            raise ConfigError(
                f"embedding.prompt: found {prompt_pieces} word pieces, {source.prompt!r}; wanted at most {reads // 2}: "
                f"{source.name!r} reads {reads} at once, the prompt among them"
            )
        self.d_embed = int(self.encode(["size"]).shape[1])
        debug(f"embedding model on {model.device} in {self.precision}, {self.d_embed} numbers per vector")

    def offsets(self, texts: Sequence[str]) -> list[Offsets]:
        """Where the word pieces of each text are, without special ones and without a limit."""
        if not texts:
            return []
        encoded = self._tokenizer(
            list(texts),
            add_special_tokens=False,
            return_offsets_mapping=True,
            return_attention_mask=False,
            truncation=False,
            verbose=False,
        )
        return [[(start, end) for start, end in offsets if end > start] for offsets in encoded["offset_mapping"]]

    def segment(self, situations: Sequence[Situation], window_pieces: int, max_segments: int) -> list[list[Segment]]:
        """The segments of each situation, with no part longer than the encoder reads."""
        limits = SegmentationLimits(window_pieces, max_segments, self.part_pieces)
        texts = [text for one in situations for text in (one.title, one.action, one.text) if text is not None]
        offsets = iter(self.offsets(texts))

        def with_offsets(text: str | None) -> tuple[str, Offsets] | None:
            return None if text is None else (text, next(offsets))

        cut = []
        for one in situations:
            title, action, text = with_offsets(one.title), with_offsets(one.action), (one.text, next(offsets))
            segments = segment_situation(title, action, text, limits)
            cut.append([Segment(each.kind, each.position, self._within_limit(each.parts)) for each in segments])
        return cut

    def _within_limit(self, parts: tuple[Part, ...]) -> tuple[Part, ...]:
        """Parts that are read whole: cut inside a word, the halves can have more pieces than the word had."""
        if all(part.pieces <= self.part_pieces // 2 for part in parts):
            return parts
        checked: list[Part] = []
        for part, offsets in zip(parts, self.offsets([part.text for part in parts]), strict=True):
            if len(offsets) <= self.part_pieces:
                checked.append(part)
            else:
                middle = offsets[len(offsets) // 2][0]
                halves = (Part(part.text[:middle], len(offsets) // 2), Part(part.text[middle:], -(-len(offsets) // 2)))
                checked.extend(self._within_limit(halves))
        return tuple(checked)

    def encode(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """Vectors ``(texts, d_embed)``, float32, in the texts' order. Each text is at most ``part_pieces`` long.

        Raises:
            MissingRequirement: the model gives something that is not a number.
            OutOfMemory: a single text does not fit into memory.
        """
        places: dict[str, int] = {}
        for text in texts:  # a short story is its only window: it is read once
            places.setdefault(text, len(places))
        different = list(places)
        order = sorted(range(len(different)), key=lambda place: len(different[place]), reverse=True)
        found: list[NDArray[np.float32]] = []
        start = 0
        while start < len(order):
            batch = [different[place] for place in order[start : start + self._pass_size]]
            # Windows beside a whole text would be padded to its length: that took a third more time than this.
            batch = [text for text in batch if len(text) >= len(batch[0]) / 2]
            short: BaseException | None = None
            try:
                with self._torch.inference_mode():
                    vectors = self._model.encode(
                        batch, batch_size=len(batch), convert_to_tensor=True, show_progress_bar=False, **self._prompt
                    )
                found.append(vectors.float().cpu().numpy())
            except (RuntimeError, MemoryError, OSError) as error:
                if not is_out_of_memory(error):
                    raise
                short = error.with_traceback(None)  # whose frames hold the tensors that have to go
            if short is not None:
                self._shrink(short)
                continue
            start += len(batch)
        unsorted = np.concatenate(found)
        vectors_in_order = np.empty_like(unsorted)
        vectors_in_order[order] = unsorted
        if not np.isfinite(vectors_in_order).all():
            raise MissingRequirement(
                f"embedding model {self._name!r}: found vectors with NaN or Infinity in {self.precision}; wanted finite "
                "numbers: its weights are damaged, or it needs embedding.precision=fp32"
            )
        return vectors_in_order[[places[text] for text in texts]]

    def _shrink(self, error: BaseException) -> None:
        """Half as many at once from here on.

        Raises:
            OutOfMemory: it is one already.
        """
        reason = (str(error) or type(error).__name__).splitlines()[0]
        if self._pass_size == 1:
            raise OutOfMemory(
                f"embedding model {self._name!r}: out of memory with a single text ({reason}): end other programs, or name a smaller "
                "embedding.model; what was embedded is stored",
                memory=memory_of(error),
                phase="embedding",
                is_least=True,
            )
        self._pass_size //= 2
        gc.collect()
        if self._torch.cuda.is_available():
            self._torch.cuda.empty_cache()
        warn("embedding.smaller_batches", size=self._pass_size)

    def encode_segments(self, segments: Sequence[Segment]) -> NDArray[np.float32]:
        """Vectors ``(segments, d_embed)``. One in several parts is their mean, weighted by word pieces.

        Where the model gives unit vectors, so is that mean brought to unit length.
        """
        vectors = self.encode([part.text for segment in segments for part in segment.parts])
        if len(vectors) == len(segments):
            return vectors
        means = np.empty((len(segments), self.d_embed), np.float32)
        first = 0
        for row, segment in enumerate(segments):
            last = first + len(segment.parts)
            weights = np.array([max(1, part.pieces) for part in segment.parts], np.float32)
            mean = weights @ vectors[first:last] / weights.sum()
            if self._normalises and len(segment.parts) > 1:
                mean = mean / max(float(np.linalg.norm(mean)), 1e-12)
            means[row] = mean
            first = last
        return means
