"""The benchmark of the doctor runs; how fast it is, is not for a test to say."""

from pathlib import Path

from tests.bench import doctor_speed
from tests.support.tiny_models import make_tiny_tokenizer


def test_the_benchmark_compares_the_same_rows(tmp_path: Path, capsys):
    tokenizer = make_tiny_tokenizer()
    path = doctor_speed.write_rows(tmp_path / "rows.arrow", 50)
    with doctor_speed.growth() as grown:
        ratio = doctor_speed.measure(path, doctor_speed.rendered(path, tokenizer), tokenizer)
    assert ratio > 0
    assert grown[0] >= 0
    assert capsys.readouterr().out.startswith("50 rows of ")
