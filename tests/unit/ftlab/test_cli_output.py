"""Nothing that a command prints controls the terminal, whatever models, logs and other users have written."""

import json

import pytest

from ftlab.cli.output import Output

EVIL = "a\x1b[2J\x9b2J\x7f\x07\x85b"


def test_control_characters_are_left_out_of_text(capsys: pytest.CaptureFixture[str]):
    output = Output()
    output.data(f"{EVIL}\n\tc")
    output.talk(EVIL)
    output.record({"name": EVIL})
    shown = capsys.readouterr()
    assert shown.out == "a [2J 2J   b\n\tc\nname  a [2J 2J   b\n"
    assert shown.err == "a [2J 2J   b\n"


def test_joiners_and_wide_spaces_stay(capsys: pytest.CaptureFixture[str]):
    text = "می\u200cخواهم 👩\u200d🚀 日本\u3000語"
    Output().data(text)
    assert capsys.readouterr().out == f"{text}\n"


def test_json_escapes_them_and_loses_nothing(capsys: pytest.CaptureFixture[str]):
    Output().json({"text": EVIL})
    Output().json_line([EVIL, "é\u200d"])
    whole, line = (text for text in capsys.readouterr().out.rsplit("\n", 2)[:2])
    assert json.loads(whole) == {"text": EVIL}
    assert json.loads(line) == [EVIL, "é\u200d"]
    assert not {char for char in whole + line if ord(char) < 32 or 0x7F <= ord(char) < 0xA0} - {"\n"}


def test_errors_are_printed_without_them(cli):
    shown = cli("submit", f"none{EVIL}.yaml")
    assert shown.code != 0
    assert "none" in shown.err
    assert "\x1b" not in shown.err
    assert "\x9b" not in shown.err
