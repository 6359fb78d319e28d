"""The forms in which each format is written: one after another, each compared before the next is made of it."""

from ftlab.schemas.export import ExportFormat
from train.export.adapter_files import AdapterFormat
from train.export.exportable import no_quantizer
from train.export.gguf_file import GgufFormat
from train.export.gguf_quantize import QuantizedFormat
from train.export.merged_model import MergedFormat
from train.export.merged_weights import MergedWeights
from train.model.base_model import BaseModel
from train.plan import ExportPlan

Form = AdapterFormat | MergedFormat | GgufFormat | QuantizedFormat


def forms_of(plan: ExportPlan, weights: MergedWeights, base: BaseModel) -> dict[ExportFormat, list[Form]]:
    """The forms of the wanted formats. Raise `InvalidRequestError` for K-quants without a program that makes them."""
    found: dict[ExportFormat, list[Form]] = {}
    for each in plan.config.formats:
        match each:
            case "adapter":
                found[each] = [AdapterFormat(base)]
            case "merged":
                found[each] = [MergedFormat(weights, base, plan.config.dtype)]
            case "gguf":
                found[each] = _gguf_forms(plan, weights, base)
    return found


def num_tensors(form: Form, weights: MergedWeights) -> int:
    """How often `write` of a form reports a tensor."""
    return 1 if isinstance(form, AdapterFormat) else sum(map(len, weights.files.values()))


def _gguf_forms(plan: ExportPlan, weights: MergedWeights, base: BaseModel) -> list[Form]:
    match plan.config.gguf_type:
        case "f32" | "f16" | "bf16" | "q8_0" as plain:
            return [GgufFormat(weights, base, plain)]
        case k_quants:
            if plan.quantizer is None:
                raise no_quantizer()
            finer = GgufFormat(weights, base, "f16")
            return [finer, QuantizedFormat(finer, k_quants, plan.quantizer, plan.threads)]
