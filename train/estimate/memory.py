"""Peak memory of one training process, by part, from a job's config and the dimensions of its base model."""

from dataclasses import dataclass, replace
from math import prod

from ftlab.schemas import GrpoMethod, JobConfig, SftMethod
from train.device_defaults import FLASH_ATTENTION, device_defaults, with_device_defaults
from train.device_defaults import DeviceTraits as DeviceTraits
from train.estimate.activations import (
    Adapters,
    Batch,
    Precision,
    backward_bytes,
    block_bytes,
    forward_bytes,
    head_bytes,
)
from train.model.layers import EMBEDDINGS, HEADS, last_part
from train.model.shape import DTYPE_BYTES, ModelShape
from train.model.targets import adapted

MIB = 1024**2
CPU_LIBRARIES = 650 * MIB
"""Resident memory of a training process on the CPU with all libraries loaded, without a model."""
CPU_HEAP_FACTOR = 1.5
"""Memory that the C library's heap takes for the tensors of a step / memory of these tensors, as measured. Training
keeps freed memory (see `cluster.machine.cpu_priority`), and pieces of many sizes leave gaps."""
CUDA_CONTEXT = 600 * MIB
"""CUDA context, kernels and workspaces of cuBLAS. Not measured."""
CUDA_CACHE_FACTOR = 1.05
"""Memory that PyTorch's caching allocator reserves / memory that tensors use. Not measured."""
NF4_BYTES = 0.5 + 1 / 64 + 4 / (64 * 256)
"""Bytes of one number in NF4: 4 bits, a byte for each block of 64, and a float32 for each 256 of these blocks."""

BLOCKWISE_BYTES = 1 + 4 / 256
"""Bytes of one number in bitsandbytes' 8-bit optimizers: 8 bits, and a float32 for each block of 256."""


@dataclass(frozen=True)
class Memory:
    """Bytes by part at one moment of a run."""

    weights: int = 0
    adapter: int = 0
    gradients: int = 0
    optimizer: int = 0
    activations: int = 0
    logits: int = 0
    overhead: int = 0

    @property
    def total(self) -> int:
        return sum(vars(self).values())


def training_peak(shape: ModelShape, config: JobConfig, length: int, traits: DeviceTraits) -> Memory:
    """The largest of the moments of a step whose longest row has `length` tokens."""
    return max(_moments(_Run(shape, config, traits), length), key=lambda memory: memory.total)


def evaluation_peak(shape: ModelShape, config: JobConfig, length: int, traits: DeviceTraits) -> Memory:
    """The peak of an evaluation during training."""
    run = _Run(shape, config, traits)
    texts = config.training.per_device_eval_batch_size * config.method.texts_per_row
    batch = Batch(texts, length, texts > 1)
    head = _head_bytes(run, batch, backward=False)
    activations = forward_bytes(shape, batch, run.precision)
    return run.with_overhead(replace(run.in_pass, activations=activations, logits=head))


def answering_peak(shape: ModelShape, config: JobConfig, texts: int, length: int, traits: DeviceTraits) -> Memory:
    """The peak while a batch of `texts` is answered; `length` counts the tokens of the longest prompt and answer."""
    run = _Run(shape, config, traits)
    return run.with_overhead(_generation(run, texts, length))


def adapter_parameters(shape: ModelShape, config: JobConfig) -> int:
    """Trained numbers of the adapters, and of modules that are trained as a whole; 0 for full fine-tuning."""
    if config.tuning == "full":
        return 0
    widths = [shape.linears[name] for name in _adapted(shape, config)]
    magnitudes = sum(out for out, _ in widths) if config.lora.use_dora else 0
    names = set(config.lora.modules_to_save or ())
    whole = sum(prod(widths) for name, widths in shape.linears.items() if {name, last_part(name)} & names)
    whole += len(names & (EMBEDDINGS | HEADS)) * shape.vocab * shape.hidden
    return sum(config.lora.r * (out + into) for out, into in widths) + magnitudes + whole


class _Run:
    """The parts of a run that stay the same during a step."""

    def __init__(self, shape: ModelShape, config: JobConfig, traits: DeviceTraits) -> None:
        in_force = device_defaults(config, traits)
        config = with_device_defaults(config, traits)
        self.optim, self.has_flash = in_force.optim, in_force.attention == FLASH_ATTENTION
        training = config.training
        if config.method.scores_texts:
            shape = shape.without_head
        self.shape, self.config, self.traits = shape, config, traits
        self.trains_all = config.tuning == "full"
        self.is_mixed = bool(training.bf16 or training.fp16)
        stored = DTYPE_BYTES[shape.dtype]
        weights = DTYPE_BYTES.get(training.dtype) or (4 if self.trains_all else stored)
        if training.dtype == "auto" and not traits.use_cuda and not traits.has_fast_bfloat16:
            weights = 4
        compute = 2 if self.is_mixed else weights
        self.precision = Precision(weights, weights, compute)
        adapter = adapter_parameters(shape, config)
        self.trained = shape.num_parameters if self.trains_all else adapter
        self.trained_bytes = weights if self.trains_all else 4
        self.is_sharded = config.resources.sharding == "fsdp" and config.resources.num_workers > 1
        self.parts = config.resources.num_workers if self.is_sharded else 1
        """Workers that divide weights, gradients and optimizer among them."""
        self.still = Memory(
            weights=_weights(shape, weights, config) // self.parts,
            adapter=4 * adapter // self.parts,
            optimizer=self.optimizer_bytes // self.parts,
        )
        lora = config.lora
        self.adapters = (
            None
            if self.trains_all
            else Adapters(_adapted(shape, config), lora.r, lora.lora_dropout > 0, use_dora=lora.use_dora)
        )

    @property
    def in_pass(self) -> Memory:
        """`still` while a pass is computed: with divided weights, those outside the blocks and two blocks are whole."""
        return replace(self.still, weights=self.still.weights + self._gathered(self.precision))

    @property
    def gradients(self) -> int:
        """Bytes of all gradients; data-parallel training with whole weights copies them into buckets."""
        if self.is_sharded:
            return self.trained * self.trained_bytes // self.parts
        return self.trained * self.trained_bytes * (2 if self.config.resources.num_workers > 1 else 1)

    @property
    def gathered_gradients(self) -> int:
        """Bytes of the gradients that are whole until all workers have added to them: those of the same weights."""
        return self._gathered(self.precision) if self.trains_all else 0

    def _gathered(self, precision: Precision) -> int:
        if not self.is_sharded:
            return 0
        shape = self.shape
        outside = shape.num_parameters - shape.linear_parameters
        return (outside + 2 * shape.linear_parameters // shape.num_layers) * min(precision.weights, precision.compute)

    @property
    def step_bytes(self) -> int:
        """Temporary tensors of an optimizer step: of all weights at once on a GPU, else of one after another."""
        optim, largest = self.optim, self.shape.largest_weight if self.trains_all else 0
        if optim == "adafactor":
            return 3 * 4 * largest
        if is_8bit(optim):
            return 0 if self.traits.use_cuda else 4 * 4 * largest
        if optim == "adamw_torch":
            return self.trained_bytes * (self.trained if self.traits.use_cuda else 2 * largest) // self.parts
        return 0

    def with_overhead(self, memory: Memory) -> Memory:
        if self.traits.use_cuda:
            return replace(memory, overhead=CUDA_CONTEXT + round((CUDA_CACHE_FACTOR - 1) * memory.total))
        return replace(
            memory, overhead=CPU_LIBRARIES + round((CPU_HEAP_FACTOR - 1) * (memory.activations + memory.logits))
        )

    @property
    def optimizer_bytes(self) -> int:
        """Bytes of the optimizer's whole state: two averages for AdamW, sums over rows and columns for Adafactor."""
        optim = self.optim
        if optim == "sgd":
            return 0
        if optim == "adafactor":
            sides = sum(sum(widths) for widths in self.shape.linears.values()) + self.shape.vocab + self.shape.hidden
            return 4 * sides if self.trains_all else 4 * self.trained // max(1, self.config.lora.r)
        if is_8bit(optim):
            # bitsandbytes keeps the averages of embeddings in float32.
            whole = self.shape.vocab * self.shape.hidden if self.trains_all else 0
            return round(2 * ((self.trained - whole) * BLOCKWISE_BYTES + 4 * whole))
        return 2 * self.trained * self.trained_bytes


def _moments(run: _Run, length: int) -> list[Memory]:
    """The moments of a step at which memory may be at its peak."""
    shape, precision, training = run.shape, run.precision, run.config.training
    texts = training.per_device_train_batch_size * run.config.method.texts_per_row
    # FlashAttention needs no mask: it leaves the padding out.
    batch = Batch(texts, length, texts > 1 and not run.has_flash)
    blocks = block_bytes(shape, batch, precision, run.adapters) + _cast_weights(run)
    one_block = blocks // shape.num_layers
    recomputes = training.gradient_checkpointing
    kept = shape.num_layers * batch.num_tokens * shape.hidden * precision.residual if recomputes else blocks
    in_block = (one_block if recomputes else 0) + backward_bytes(shape, batch, precision) + _dequantised(run)
    embedding = shape.vocab * shape.hidden * run.trained_bytes if run.trains_all else 0
    earlier = run.gradients if training.gradient_accumulation_steps > 1 else 0
    head = _head_bytes(run, batch)
    if isinstance(run.config.method, SftMethod) and run.config.method.label_smoothing_factor:
        # In float32: the hidden states, the weights of their labels, and the product of both.
        head += 3 * 4 * batch.num_tokens * shape.hidden
    still, in_pass = run.still, run.in_pass
    # Below a new adapter, the base model is the reference: another forward pass before the backward pass.
    reference = forward_bytes(shape, batch, precision) if run.config.method.compares_with_base else 0
    moments = [
        replace(in_pass, gradients=earlier, activations=kept + reference, logits=head),
        replace(in_pass, gradients=max(earlier, embedding) + run.gathered_gradients, activations=kept + in_block),
        # The gradient of tied embeddings comes from both ends.
        replace(
            in_pass,
            gradients=run.gradients + embedding * shape.is_tied + run.gathered_gradients,
            activations=one_block,
        ),
        replace(still, gradients=run.gradients, optimizer=still.optimizer + run.step_bytes),
    ]
    if isinstance(run.config.method, GrpoMethod):
        texts = training.per_device_train_batch_size * training.gradient_accumulation_steps
        moments.append(_generation(run, texts, length))
    return [run.with_overhead(memory) for memory in moments]


def _generation(run: _Run, texts: int, length: int) -> Memory:
    """The end of a generation: keys and values of all answers, and float32 logits of one token of each."""
    shape = run.shape
    cache = 2 * shape.num_layers * shape.key_width * run.precision.compute * texts * length
    return replace(run.still, activations=cache, logits=4 * texts * shape.vocab)


def _head_bytes(run: _Run, batch: Batch, *, backward: bool = True) -> int:
    """Bytes of the head and the loss. That of a reward model is one number for each token."""
    if run.config.method.scores_texts:
        return 4 * batch.num_tokens
    options = {"use_cuda": run.traits.use_cuda, "is_trained": run.trains_all, "backward": backward}
    return head_bytes(run.shape, batch, run.precision, **options)


def _weights(shape: ModelShape, num_bytes: int, config: JobConfig) -> int:
    quantised = shape.linear_parameters if config.quantised_by else 0
    return round(quantised * (NF4_BYTES if config.load_in_4bit else 1)) + (shape.num_parameters - quantised) * num_bytes


def _cast_weights(run: _Run) -> int:
    """Bytes of the converted copies of weights that mixed precision keeps for the backward pass."""
    if run.precision.compute >= run.precision.weights or run.config.quantised_by or run.is_sharded:
        return 0
    return run.shape.linear_parameters * run.precision.compute


def _dequantised(run: _Run) -> int:
    """Bytes of the one quantised weight that is computed with."""
    return 2 * run.shape.largest_weight if run.config.quantised_by else 0


def _adapted(shape: ModelShape, config: JobConfig) -> list[str]:
    targets = config.lora.target_modules
    return sorted(adapted(targets, dict.fromkeys(shape.linears, True)))


def is_8bit(optim: str) -> bool:
    """Whether the optimizer keeps its averages in 8 bits."""
    return optim.endswith("_8bit")


def optimizer_bytes(shape: ModelShape, config: JobConfig, traits: DeviceTraits) -> int:
    """Bytes of the optimizer's state, in memory and in a checkpoint."""
    return _Run(shape, config, traits).optimizer_bytes


def trained_bytes(shape: ModelShape, config: JobConfig, traits: DeviceTraits) -> int:
    """Bytes of the trained weights: of all, or of the adapter."""
    run = _Run(shape, config, traits)
    return run.trained * run.trained_bytes
