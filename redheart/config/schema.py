"""The schema: every setting with its type, its default and its reason. Frozen, so a run's settings do not change."""

from __future__ import annotations

from typing import Annotated, Literal

from msgspec import Meta, Struct

from redheart.paths import DEFAULT_OUTPUT

Positive = Annotated[int, Meta(ge=1)]
Fraction = Annotated[float, Meta(ge=0.0, le=1.0)]
PositiveNumber = Annotated[float, Meta(gt=0.0)]
NotNegative = Annotated[float, Meta(ge=0.0)]
#: The longest sequence that the model is built for.
MAX_SEGMENTS = 16
#: Of a seed: what fits into 63 bits, as JSON readers and random generators have it.
MAX_SEED = (1 << 63) - 1


class Section(Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """A group of settings."""


class DataConfig(Section, frozen=True, kw_only=True):
    """Which situations."""

    path: str | None = None
    """The dataset; without it ``claude_preprocessed_complete.json`` is looked for, then the bundled sample is taken."""
    problem_limit: Positive = 50
    """How many problems of a broken dataset are listed before the reader gives up."""


class EmbeddingConfig(Section, frozen=True, kw_only=True):
    """How texts become vectors."""

    model: str = "all-MiniLM-L6-v2"
    """A SentenceTransformer by path or name; sought as a path, in the off-line package, then on the hub."""
    prompt: str | None = None
    """What the encoder wants before every text it reads, such as ``"query: "`` for E5; the space at its end counts. Vectors
    belong to it: with another one everything is embedded again. A trained model predicts with the one it was trained with."""
    batch_size: Positive = 64
    """Segments per forward pass."""
    window_word_pieces: Positive = 48
    """A text window is as many consecutive sentences as fit into this."""
    max_segments: Annotated[int, Meta(ge=4, le=MAX_SEGMENTS)] = MAX_SEGMENTS
    """Title, action, the text whole, and at most three fewer windows; beyond that neighbouring windows are merged."""
    precision: Literal["auto", "fp32", "bf16"] = "auto"
    """``auto``: bf16 on a CUDA device, fp32 elsewhere."""
    inline: bool = False
    """Write the vectors into the JSON as lists instead of memory-mapped files beside it."""


class ModelConfig(Section, frozen=True, kw_only=True):
    """Which model."""

    preset: Literal["auto", "tiny", "small", "730m"] = "auto"
    """``auto``: where there is a CUDA device the largest that fits by the plan (``redheart plan``), else ``tiny``."""
    dropout: Annotated[float, Meta(ge=0.0, lt=1.0)] = 0.1
    """Fraction of activations dropped in training, in every block."""


class TrainingConfig(Section, frozen=True, kw_only=True):
    """The main training; the sweep uses the same optimizer, batch and loss."""

    epochs: Positive = 60
    """Passes over the training split."""
    learning_rate: PositiveNumber | None = None
    """Null: the sweep's choice, from ``lr_sweep_results/optimal_lr.json``."""
    global_batch_size: Positive = 32
    """Situations an optimizer step, over all processes: micro_batch_size × accumulation × world size."""
    micro_batch_size: Positive | None = None
    """Situations a forward pass on one device; null: in one process, and where the plan chooses how it is started
    (`redheart launch`, `workflow`), the largest that it finds to fit; else the global batch divided by the world size, at most 32."""
    gradient_accumulation_steps: Positive | None = None
    """Null: follows from the other two and the world size; given, it must agree with them."""
    weight_decay: NotNegative = 0.05
    """AdamW's; biases, norms and scalars are exempt."""
    warmup_fraction: Fraction = 0.1
    """Fraction of the optimizer steps over which the learning rate rises linearly from 0."""
    schedule: Literal["cosine", "wsd"] = "cosine"
    """After the warm-up: half a cosine; or warm-up, stable, decay: the peak, then down as 1 − √ over the last steps."""
    decay_fraction: Fraction = 0.2
    """Fraction of the optimizer steps over which ``wsd`` goes down; with the warm-up at most 1."""
    final_lr_fraction: Fraction = 0.05
    """Where the schedule ends, as a fraction of the peak."""
    init_from: str | None = None
    """Begin with the weights of a checkpoint – an epoch, ``best_model``, an export, ``crossover_final.pth`` –, for new data, tasks
    or schedule; null: with random ones."""
    linear_start: bool | None = None
    """Start the heads' linear and radial paths at the best prediction from the training split, found in closed form, and let
    them learn at a tenth of the rate; null: yes, but not with ``init_from``."""
    rate_by_coverage: bool = True
    """Modules of a task that fewer training situations have a target for learn at a rate that is lower by as much; no rate is
    below a hundredth of the full one."""
    layer_lr_decay: Annotated[float, Meta(gt=0.0, le=1.0)] = 1.0
    """Each layer further from the output learns at this times the rate of the one after it; 1: all at the same."""
    ema_decay: Annotated[float, Meta(ge=0.0, lt=1.0)] | None = None
    """Fraction of the weights' running average that an optimizer step leaves as it was; with it the average is what is
    evaluated and kept per epoch. Null or 0: off."""
    label_smoothing: Annotated[float, Meta(ge=0.0, lt=1.0)] = 0.0
    """Fraction of the uniform distribution that is mixed into the distributions that training aims at; never in validation."""
    r_drop: NotNegative = 0.0
    """Weight, relative to each head's loss, of how much two passes under different dropout may differ; 0: one pass."""
    max_grad_norm: PositiveNumber = 1.0
    """Gradients whose norm over all parameters is larger are scaled down to this before a step."""
    precision: Literal["auto", "no", "bf16", "fp16"] = "auto"
    """Mixed precision; ``auto``: bf16 on a CUDA device that has it, else none."""
    activation_checkpointing: bool = False
    """Keep only the inputs of the model's blocks for the backward pass and compute their insides again: less memory for
    activations, a third more time, the same numbers."""
    probe_memory: bool | None = None
    """Take steps on made-up situations of the greatest length before the first, in a process of its own, to see which micro-batch fits;
    null: on a GPU, where what is reckoned comes near its memory. What is found is remembered, so that it is done once."""
    compile: bool = False
    """Compile the forward pass of training and evaluation by ``torch.compile``: minutes at first, faster then on a GPU. Not
    under ZeRO-3."""
    no_param_update: bool = False
    """A dry run of the pipeline: forward and backward, but no optimizer step."""
    monitor_every: Positive = 100
    """Batches between two checks of which modules' parameters changed."""
    dead_update_threshold: NotNegative = 1e-9
    """A module whose relative update since the last check is at most this is reported as not updated."""
    liveness_steps: Annotated[int, Meta(ge=0)] = 20
    """First optimizer steps over which every tensor is watched: held by the optimizer, a gradient, an update; 0: none."""
    strict: bool = False
    """Stop instead of warn when a tensor or a module does not train."""
    save_every_minutes: NotNegative = 10.0
    """A state to go on from is written when so many minutes went by since the last, in the midst of an epoch or at its end;
    always at a stop and after the last epoch. 0: at the end of every epoch."""
    checkpoint_dtype: Literal["fp32", "bf16"] = "fp32"
    """In what an epoch's checkpoint keeps the weights; bf16 takes half the disk, and rounds each to three digits."""
    keep_epochs: Literal["auto", "all", "thinned"] = "auto"
    """Of which epochs the weights stay: ``all``; ``thinned``: the last and the best whole, and of each module the files of its own
    best epochs; ``auto``: all while the disk has room for what is to come, else thinned."""
    keep_last: Positive = 5
    """Last epochs that are whole where epochs are thinned; at least ``crossover.average_last``."""
    keep_best: Positive = 3
    """Best epochs of a module whose file stays where epochs are thinned: so many by its loss, by its task's skill, by the
    multi-criteria decision analysis, and by its smoothed loss; beside those that the techniques would vote for by then."""
    max_nonfinite_steps: Positive = 3
    """Optimizer steps in a row that may be skipped for a loss that is not finite before the run stops."""


class SweepConfig(Section, frozen=True, kw_only=True):
    """The hierarchical learning-rate sweep: ``stages`` × ``points`` trials."""

    lr_min: PositiveNumber = 1e-5
    """The lowest learning rate of the first stage."""
    lr_max: PositiveNumber = 1e-2
    """The highest learning rate of the first stage."""
    stages: Positive = 5
    """Each stage after the first looks more closely around the best so far."""
    points: Annotated[int, Meta(ge=3)] = 5
    """Learning rates per stage, tried in parallel."""
    max_situations: Positive = 1000
    """Training situations a trial uses; validation is always the whole ``choose`` half."""
    epochs: Positive | None = None
    """Epochs per trial; null: as many as the main training has, at most 12, because the best rate falls as a run gets longer."""
    min_spacing: PositiveNumber = 0.10
    """The sweep's resolution: two learning rates closer than this ratio are one."""
    workers: Positive | None = None
    """Trials at a time; null: one per GPU, or on CPU one per core up to ``points``."""


class SweetSpotConfig(Section, frozen=True, kw_only=True):
    """How the best epoch of each module is found."""

    significance: Annotated[float, Meta(gt=0.0, lt=1.0)] = 0.05
    """Level of the Mann–Kendall trend test, after control of the false discovery rate over modules."""
    loss_weight: Fraction = 0.30
    """Weight of the module's loss in the multi-criteria decision analysis; the four weights must sum to 1."""
    task_weight: Fraction = 0.40
    """Weight of the skill of the module's task."""
    stability_weight: Fraction = 0.15
    """Weight of how little the epoch differs from its neighbours."""
    gradient_weight: Fraction = 0.15
    """Weight of the health of the module's gradients."""


class CrossoverConfig(Section, frozen=True, kw_only=True):
    """What the combined model is compared with."""

    average_last: Positive = 5
    """Epochs in the uniform average of the last k, and candidates of the greedy soup."""
    random_controls: Annotated[int, Meta(ge=0)] = 3
    """Crossovers of randomly chosen epochs, as a control for the choice of epochs."""


class AblationConfig(Section, frozen=True, kw_only=True):
    """The ablation: the model trained without each group of modules in turn."""

    seeds: Annotated[int, Meta(ge=2)] = 5
    """Trainings of each variant, from ``seed`` on; the same seeds for all, because they are compared in pairs."""
    epochs: Positive | None = None
    """Epochs per training; null: as many as a trial of the sweep, whose learning rate it takes."""
    workers: Positive | None = None
    """Trainings at a time; null: one per GPU, or on CPU one per core."""


class ReportConfig(Section, frozen=True, kw_only=True):
    """How sure the report says to be."""

    bootstrap_samples: Annotated[int, Meta(ge=100)] = 2000
    """Resamplings of the situations from which an interval is read."""
    confidence: Annotated[float, Meta(gt=0.5, lt=1.0)] = 0.95
    """Coverage of the intervals."""


#: Epochs after which a trial tells what a longer one would: the schedule is stretched over them.
MAX_TRIAL_EPOCHS = 12


class Config(Section, frozen=True, kw_only=True):
    """One run."""

    output: str = DEFAULT_OUTPUT
    """Where everything is written, under the current directory."""
    seed: Annotated[int, Meta(ge=0, le=MAX_SEED)] = 0
    """Of the initial weights, the order of the data, dropout and the sweep."""
    data: DataConfig = DataConfig()
    embedding: EmbeddingConfig = EmbeddingConfig()
    model: ModelConfig = ModelConfig()
    training: TrainingConfig = TrainingConfig()
    sweep: SweepConfig = SweepConfig()
    sweet_spot: SweetSpotConfig = SweetSpotConfig()
    crossover: CrossoverConfig = CrossoverConfig()
    ablation: AblationConfig = AblationConfig()
    report: ReportConfig = ReportConfig()

    @property
    def trial_epochs(self) -> int:
        """Epochs of a trial of the sweep."""
        return self.sweep.epochs or min(self.training.epochs, MAX_TRIAL_EPOCHS)

    @property
    def ablation_epochs(self) -> int:
        """Epochs of each training of the ablation."""
        return self.ablation.epochs or self.trial_epochs
