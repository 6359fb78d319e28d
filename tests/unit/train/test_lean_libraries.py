"""What a run does not use, it does not import: that was a third of the time until its first step."""

import json
import subprocess
import sys
from pathlib import Path

from tests.support.documents import ROOT
from train.lean_libraries import READ_FOLDER, READ_NAMES, transformers_packages

RUNS = """
import json
import sys
from pathlib import Path

from ftlab.status import JobKind
from train.run_job import find_run

find_run(JobKind.TRAINING)
from tests.support.tiny_models import make_tiny_model
from tests.unit.train.runs import Job, write_rows

folder = Path(sys.argv[1])
make_tiny_model(folder / "models" / "org--tiny")
job = Job(folder / "job", folder / "models", write_rows(folder / "rows.arrow", 4))
job.train(training={"max_steps": 1})
of_lora = list(sys.modules)
Job(folder / "job-4bit", job.models, job.rows).train(training={"max_steps": 1}, load_in_4bit=True)

import trl.import_utils as trl_packages

answers = [trl_packages.PACKAGE_DISTRIBUTION_MAPPING["trl"], trl_packages.is_liger_kernel_available()]

import transformers.models
from train.lean_libraries import READ_FOLDER, READ_NAMES, transformers_packages

folders = Path(transformers.models.__file__).parent
texts = [file.read_text("utf-8") for name in ("auto", "llama", "qwen2") for file in folders.glob(name + "/*.py")]
names = [getattr(transformers_packages, READ_NAMES)(text) for text in (*texts, "x = 1", "__all__ = ['A']")]
reads = getattr(transformers_packages, READ_FOLDER).cache_info()
print(json.dumps([of_lora, list(sys.modules), answers, names, reads.misses - reads.currsize, reads.hits]))
"""


def test_the_functions_of_transformers_that_read_its_models_are_there() -> None:
    """Where one has another name, the models are read twice, as usual."""
    missing = {READ_FOLDER, READ_NAMES} - vars(transformers_packages).keys()
    assert missing == set()
    assert hasattr(getattr(transformers_packages, READ_FOLDER), "__wrapped__"), "it remembers nothing"


def test_a_lora_run_imports_no_bitsandbytes_and_a_quantised_one_does(tmp_path: Path) -> None:
    """Each run compares its settings with its config, so the second one trains a quantised model."""
    done = subprocess.run(
        [sys.executable, "-c", RUNS, str(tmp_path)], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    of_lora, of_qlora, answers, names, num_forgotten, num_hits = json.loads(done.stdout.splitlines()[-1])
    unwanted = {"bitsandbytes", "scipy", "sklearn", "mlflow", "torch._inductor.compile_fx", "ray"}
    unwanted |= {f"train.methods.{name}" for name in ("dpo", "grpo", "kto", "reward")}
    unwanted |= {"train.evaluation.run", "train.export.run", "train.inference.run_engine", "trl.trainer.grpo_trainer"}
    assert unwanted & set(of_lora) == set()
    assert "bitsandbytes" in of_qlora
    assert answers == [["trl"], False]
    # Each folder is read once, for the same names as in the files.
    assert num_forgotten == 0
    assert num_hits > 100
    exported = {name for each in names for name in each}
    assert {"LlamaForCausalLM", "Qwen2Config", "AutoTokenizer", "A"} <= exported
    assert names[-2:] == [[], ["A"]]
