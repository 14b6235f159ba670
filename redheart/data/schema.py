"""The schema of a situation that has been read and checked.

Only this shape passes on to the other stages, so none of them looks at raw JSON again.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, TypeAlias

from redheart.tasks import TASKS

if TYPE_CHECKING:
    import numpy
    from numpy.typing import NDArray

#: An object of the file as it was read: its fields are not known before it is checked, and those that no one knows are kept.
JsonObject: TypeAlias = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Situation:
    """One annotated moral situation. Everything but ``id`` and ``text`` may be absent (None).

    Attributes:
        id: unique in its dataset.
        text: the story.
        title, action: its title and the act in question; blank ones were read as absent.
        label: who is in the wrong, one of ``redheart.tasks.LABELS``.
        label_scores: votes for the labels (those that are named; the others have none), at least one above 0.
        emotions: 7 numbers of 0..1 in the order of ``redheart.tasks.EMOTIONS``, as annotated: they sum to 1 within
            0.02 and are not rescaled here.
        regret_factor: 0..1.
        bentham_scores, surd_metrics: dimension -> 0..1, the annotated dimensions only.
        further: by a task of ``FURTHER_TASKS``: dimension -> 0..1, or of a distribution weights of 0 or more, of which at
            least one is above 0.
        embedding: float32 ``(vectors, d_embed)``, from a file that holds its vectors as lists.
        embedding_key: the key of the item's vectors in the store beside an ``.embedded.json``.
        raw: the item as it was read, ``embedding`` left out (it is above, and would be held twice).
    """

    id: str
    text: str
    title: str | None = None
    action: str | None = None
    label: str | None = None
    label_scores: dict[str, float] | None = None
    emotions: tuple[float, ...] | None = None
    regret_factor: float | None = None
    bentham_scores: dict[str, float] | None = None
    surd_metrics: dict[str, float] | None = None
    further: dict[str, dict[str, float]] = field(default_factory=dict)
    embedding: NDArray[numpy.float32] | None = field(default=None, compare=False, repr=False)
    embedding_key: str | None = None
    raw: JsonObject = field(default_factory=dict, compare=False, repr=False)


#: Tasks whose field has no form of its own: what it may hold follows from the task.
FURTHER_TASKS = tuple(task for task in TASKS if task.field not in Situation.__dataclass_fields__)
