"""Saving and loading by the interface that Hugging Face's hub knows: ``save_pretrained``, ``from_pretrained``.

What a folder holds is the business of ``exported`` and ``card``; they are imported when something is saved or loaded, and
with them what they need.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar, cast

from huggingface_hub import PyTorchModelHubMixin

if TYPE_CHECKING:
    from huggingface_hub import ModelCard

    from redheart.facts.evaluation import StoredEvaluation
    from redheart.model.exported import ExportableModel

Self = TypeVar("Self", bound="HubModel")


class HubModel(PyTorchModelHubMixin):
    """What ``UnifiedModel`` adds to ``nn.Module``. The mixin's own way of storing arguments is not used: it knows none of
    statistics, tasks and hashes, and loads weights that do not fit without a word."""

    @classmethod
    def from_pretrained(cls: type[Self], pretrained_model_name_or_path: str | Path, **options: Any) -> Self:
        """The model that ``save_pretrained`` or ``redheart export`` wrote, in evaluation mode.

        Args:
            pretrained_model_name_or_path: a folder, or a name on the hub.
            options: ``map_location`` – a device –, and the mixin's of downloading; a folder needs none.

        Raises:
            StorageError: the folder is no such model, or damaged; naming the file.
        """
        from redheart.model.exported import read_config

        if Path(pretrained_model_name_or_path).is_dir():
            read_config(Path(pretrained_model_name_or_path))
        return super().from_pretrained(pretrained_model_name_or_path, **options)

    @classmethod
    def _from_pretrained(  # type: ignore[override]
        cls: type[Self],
        *,
        model_id: str,
        map_location: str = "cpu",
        revision: str | None,
        cache_dir: str | Path | None,
        force_download: bool,
        local_files_only: bool,
        token: str | bool | None,
        config: Any = None,
        statistics: Any = None,
        proxies: Any = None,
        resume_download: Any = None,
    ) -> Self:
        # The last two: versions of the hub's library before 1.0 pass them, and always as None or their defaults.
        # config and statistics: what config.json has under the names of __init__'s arguments, undecoded. The file itself counts.
        from redheart.model.exported import CONFIG, WEIGHTS, build_exported, read_config

        folder = Path(model_id)
        if not folder.is_dir():
            from huggingface_hub import snapshot_download

            folder = Path(
                snapshot_download(
                    model_id,
                    allow_patterns=[CONFIG, WEIGHTS],
                    revision=revision,
                    cache_dir=cache_dir,
                    force_download=force_download,
                    local_files_only=local_files_only,
                    token=token,
                )
            )
        return build_exported(cls, read_config(folder), folder / WEIGHTS, device=map_location)  # type: ignore[type-var]

    def _save_pretrained(self, save_directory: Path) -> None:
        from redheart.model.exported import write_exported

        write_exported(cast("ExportableModel", self), save_directory)

    def generate_model_card(self, *, evaluations: Sequence[StoredEvaluation] = (), **_: Any) -> ModelCard:
        """The model card, from what the model knows of itself and what ``redheart evaluate`` wrote of it."""
        from huggingface_hub import ModelCard

        from redheart.model.card import write_card

        return ModelCard(write_card(cast("ExportableModel", self), evaluations))
