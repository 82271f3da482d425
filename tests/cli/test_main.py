"""How commands are found, and how the command line begins and ends."""

import shutil
import subprocess
import sys

import pytest

from kcnn.cli.main import main

KCNN = f"{sys.executable} -m kcnn"


def shell(line, program="bash"):
    return subprocess.run(
        [program, "-c", line], capture_output=True, text=True, timeout=120, check=False
    )


@pytest.mark.parametrize(
    ("arguments", "meant"),
    [
        (["trian", "lenet5"], "'train'"),
        (["evaluat"], "'evaluate'"),
        (["shwo", "lenet5"], "'show'"),
        (["--vresion"], "'--version'"),
        (["train", "--epohcs", "3"], "--epochs"),
        (["resume", "logs/run", "--epohcs", "3"], "--epochs"),
        (["tune", "--trails", "3"], "--trials"),
        (["evaluate", "logs/run", "--batchsize", "3"], "--batch-size"),
        (["predict", "logs/run", "x.png", "--tpo", "3"], "--top"),
        (["export", "logs/run", "--fromat", "onnx"], "--format"),
        (["list", "--wieghts"], "--weights"),
        (["show", "lenet5", "--clases", "3"], "--classes"),
        (["show", "resnet35"], "'resnet34'"),
        (["train", "--recipe", "fsat"], "'fast'"),
        (["train", "--data", "digtis"], "'digits'"),
        (["show", "mlp", "--options", "widht", "8"], "'width'"),
    ],
)
def test_what_was_meant_is_said(outcome, arguments, meant):
    status, out, err = outcome(*arguments)
    assert status == 2
    said = (out + err).partition("meant:" if meant.startswith("--") else "Did you mean ")[2]
    assert said.strip(" │\n").startswith(meant)


def test_options_of_other_commands_are_not_suggested(outcome):
    _, out, err = outcome("resume", "logs/run", "--epohcs", "3")
    assert "tune" not in out + err
    assert "kcnn resume --help" in out + err


def test_nothing_near_is_no_suggestion(outcome):
    status, out, err = outcome("xyzzy")
    assert (status, out) == (2, "")
    assert "Did you mean" not in err
    assert "list, show, train" in err


def test_as_a_module():
    done = shell(f"{KCNN} --help")
    assert (done.returncode, done.stderr) == (0, "")
    assert all(name in done.stdout for name in ("train", "--version", "--print-completion"))
    assert shell(f"{KCNN} shwo").returncode == 2


@pytest.mark.parametrize(  # Python's own buffer loses what fails, or keeps it
    ("arguments", "buffered"), [("train --help", ""), ("train --help", "1"), ("--help", "")]
)
def test_a_reader_who_has_enough_is_no_fault(arguments, buffered):
    line = f"export PYTHONUNBUFFERED={buffered}; {KCNN} {arguments} | true; echo ${{PIPESTATUS[0]}}"
    done = shell(line)
    assert (done.stdout, done.stderr) == ("0\n", "")


def test_a_pipe_that_is_not_the_output_is_a_fault(outcome, monkeypatch):
    def fail(self):
        raise BrokenPipeError(32, "Broken pipe")

    monkeypatch.setattr("kcnn.cli.models.List.run", fail)
    status, _, err = outcome("list")
    assert (status, err) == (1, "kcnn: [Errno 32] Broken pipe\n")


def test_predict_without_images_says_what_is_missing(outcome):
    for run in ("logs/run", "vgg16"):  # before a run is looked for, or weights are downloaded
        status, _, err = outcome("predict", run)
        assert status == 2
        assert f"Name image files, or folders of them: kcnn predict {run} photo.jpg" in err


@pytest.mark.parametrize("top", [0, -3])
def test_the_most_probable_classes_are_one_at_least(outcome, top):
    status, _, err = outcome("predict", "logs/run", "x.png", "--top", top)
    assert (status, err) == (2, f"kcnn: top is a whole number from 1 up; received {top}.\n")


#: bash's variables of a word that is being completed; what is offered.
COMPLETE = """
COMP_WORDS=(kcnn {words}); COMP_CWORD=$((${{#COMP_WORDS[@]}} - 1)); _tyro_kcnn
printf '%s\\n' "${{COMPREPLY[@]}}"
"""


@pytest.mark.parametrize(
    ("words", "offered"),
    [
        ("t", {"train", "tune"}),
        ("train --swa-", {"--swa-start", "--swa-learning-rate", "--swa-every", "--swa-anneal",
                          "--swa-validation"}),
        ("export run --format o", {"onnx", "openvino"}),
    ],
)  # fmt: skip
def test_bash_completes(words, offered, capfd, tmp_path):
    assert main(["--print-completion", "bash"]) == 0
    script = tmp_path / "kcnn.bash"
    script.write_text(capfd.readouterr().out)
    done = shell(f"source {script}\n{COMPLETE.format(words=words)}")
    assert offered == set(done.stdout.split()), done.stderr


@pytest.mark.parametrize(("name", "begins"), [("zsh", "#compdef kcnn"), ("fish", "#")])
def test_other_shells_get_scripts_of_their_own(name, begins, capfd, tmp_path):
    assert main([f"--print-completion={name}"]) == 0
    text = capfd.readouterr().out
    assert text.startswith(begins)
    assert "--learning-rate" in text
    if shutil.which(name):
        (tmp_path / "script").write_text(text)
        assert shell(f"{name} -n {tmp_path / 'script'}").returncode == 0


def test_completion_is_of_a_shell(outcome):
    status, _, err = outcome("--print-completion", "bsh")
    assert status == 2
    assert "bash, zsh, fish; received 'bsh'. Did you mean 'bash'?" in err
    assert outcome("--print-completion")[0] == 2
