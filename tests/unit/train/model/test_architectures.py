"""The list of architectures is that of the installed transformers."""

import subprocess
import sys

from transformers import AutoModelForCausalLM
from transformers.models.auto.modeling_auto import (
    MODEL_FOR_CAUSAL_LM_MAPPING_NAMES,
    MODEL_FOR_SEQUENCE_CLASSIFICATION_MAPPING_NAMES,
)

from train.model.architectures import causal_models, classifiers


def test_every_type_that_can_be_loaded_and_no_other():
    assert causal_models() == {
        name: classes if isinstance(classes, str) else classes[0]
        for name, classes in MODEL_FOR_CAUSAL_LM_MAPPING_NAMES.items()
    }
    assert AutoModelForCausalLM._model_mapping._model_mapping.keys() <= causal_models().keys()


def test_every_type_that_classifies_texts_and_no_other():
    assert classifiers() == {
        name: classes if isinstance(classes, str) else classes[0]
        for name, classes in MODEL_FOR_SEQUENCE_CLASSIFICATION_MAPPING_NAMES.items()
    }


def test_reading_the_list_imports_nothing():
    code = (
        "import sys; from train.model.architectures import causal_models; causal_models(); "
        "print({'transformers', 'torch'} & sys.modules.keys())"
    )
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert found.stdout.strip() == "set()"
