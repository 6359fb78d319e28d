"""The main job, shown: `python -m serve.demo` fine-tunes a small real model from nothing to an answer."""
