import os
import re
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import jax
import pytest
from absl.testing import flagsaver

from jaxfer import cli, cpu, launch, train
from jaxfer.errors import ConfigError


def command(*words, cwd, **environ):
    environ = {**os.environ, "JAXFER_CPU_SETTINGS": "0", **environ}
    return subprocess.run(
        [sys.executable, *words], cwd=cwd, env=environ, capture_output=True, text=True
    )


def test_config_names_become_paths_and_overrides_are_checked():
    words = launch.resolve(["x", "--config", "quickstart.py", "--config.seed=3"])
    assert Path(words[2]).is_absolute() and words[3] == "--config.seed=3"
    words = launch.resolve(["x", "--config=quickstart"])
    assert words[1].endswith("configs/quickstart.py")
    with pytest.raises(ConfigError, match="name a config"):
        launch.resolve(["x"])


@pytest.mark.parametrize(
    "word",
    ["--config.optim.learnin_rate=1", "--config.optim.learnin_rate"],
)
def test_a_misspelt_field_names_the_nearest(word):
    words = launch.resolve(["x", "--config=quickstart", word])
    with pytest.raises(ConfigError, match=r"mean 'optim\.learning_rate'"):
        launch.check_fields(words)
    with pytest.raises(ConfigError, match=r"mean 'augment\.flip'"):
        launch.check_fields([*words[:2], "--noconfig.augment.flp"])


@pytest.mark.parametrize(
    ("words", "meant"),
    [
        ("--config quickstart --workdr runs/x", " Did you mean --workdir?"),
        ("--config quickstart -workdr=runs/x", " Did you mean --workdir?"),
        ("--config quickstart --num_process=2", " Did you mean --num_processes?"),
        ("--confg quickstart", " Did you mean --config?"),
        ("--run runs/x", ""),
        ("cfnet_ckplus.py", " Did you mean --config cfnet_ckplus.py?"),
        ("cfnet_ckpluss", " Did you mean --config cfnet_ckplus.py?"),
        ("--config quickstart epochs=3", " Did you mean --config.epochs?"),
        ("--config quickstart --epochs 3", " Did you mean --config.epochs?"),
        ("--learning_rate=3", " Did you mean --config.optim.learning_rate?"),
        ("--config quickstart nonsense", ""),
        ("--config quickstart --config.seed 1 nonsense", ""),
    ],
)
def test_what_is_no_flag_names_the_nearest_of_ours(words, meant):
    with pytest.raises(ConfigError) as error:
        launch.resolve(["x", *words.split()])
    told = str(error.value)
    assert f"'.{meant} The launcher takes --config NAME" in told
    assert "--workdir" in told and "pdb" not in told


def test_flags_and_their_values_are_left_as_they_are():
    words = ["x", "--config=quickstart", "--config.augment.flip", "--config.seed", "-1"]
    words += ["--workdir", "run", "--v=0", "--nouse_cprofile_for_profiling"]
    assert launch.resolve(words)[2:] == words[2:]


def test_a_broken_config_is_an_error_without_overrides_too(tmp_path):
    (tmp_path / "broken.py").write_text("def get_config(): return 1 / 0")
    words = launch.resolve(["x", f"--config={tmp_path / 'broken.py'}"])
    with pytest.raises(ConfigError, match="ZeroDivisionError"):
        launch.check_fields(words)


@pytest.mark.parametrize("program", ["python -m jaxfer.launch", "jaxfer train"])
@pytest.mark.parametrize("word", ["--help", "-h"])
def test_help_is_the_launchers_own_and_short(program, word, capsys):
    if program == "jaxfer train":
        assert cli.main(["train", word]) == 0
    else:
        launch.main([program, word])
    shown = capsys.readouterr().out
    assert shown.startswith(f"usage: {program} --config NAME")
    assert "--workdir" in shown and "--config.FIELD=VALUE" in shown
    assert len(shown.splitlines()) < 20


@pytest.mark.filterwarnings("ignore:the load_module:DeprecationWarning")
def test_an_interrupted_run_says_that_it_continues(monkeypatch, capsys, tmp_path):
    def interrupt(config, workdir, *, command, say, watch):
        assert command == f"jaxfer train --config quickstart --workdir={tmp_path}"
        assert watch is None  # nothing is drawn
        raise KeyboardInterrupt

    monkeypatch.setattr(train, "run", interrupt)
    monkeypatch.setattr(cpu, "use_compilation_cache", lambda: None)
    with flagsaver.flagsaver(), pytest.raises(SystemExit) as stop:
        cli.main(["train", "--config", "quickstart", f"--workdir={tmp_path}"])
    assert stop.value.code == 130
    assert capsys.readouterr().err == "stopped; the same command continues\n"


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--config", "cfnet_ckplus.py"], "jaxfer prepare ckplus"),
        (["--config", "quickstart.py", "--config.epochs=many"], "epochs"),
        (["--config", "quickstart.py", "--config.precision=float8"], "precision"),
        (["--config", "quickstart.py", "epochs=3"], "unexpected"),
    ],
)
def test_mistakes_end_with_one_message_and_no_traceback(tmp_path, words, message):
    done = command(
        "-m", "jaxfer.launch", *words, cwd=tmp_path, JAXFER_DATA_DIR=str(tmp_path)
    )
    assert done.returncode == 2, done.stderr
    assert "error: " in done.stderr and message in done.stderr
    assert "Traceback" not in done.stderr
    assert not list(tmp_path.iterdir())  # nothing is left behind


def test_missing_data_says_how_to_try_without(tmp_path):
    done = command(
        "-m",
        "jaxfer.launch",
        "--config",
        "cfnet_ferplus.py",
        cwd=tmp_path,
        JAXFER_DATA_DIR=str(tmp_path),
    )
    assert "--config quickstart.py" in done.stderr


def test_importing_jaxfer_and_its_help_import_nothing_heavy(tmp_path):
    heavy = "{'jax', 'flax', 'numpy', 'cv2', 'grain', 'tensorflow_datasets'}"
    for statement in (
        "import jaxfer",
        "import jaxfer.cli; jaxfer.cli.main([])",
    ):
        code = f"{statement}; import sys; print('heavy', {heavy} & set(sys.modules))"
        done = command("-c", code, cwd=tmp_path)
        assert "heavy set()" in done.stdout, done.stdout + done.stderr


def test_cpu_settings_are_added_once_and_never_replace_the_users(monkeypatch):
    monkeypatch.setattr(cpu.platform, "libc_ver", lambda: ("glibc", "2.36"))
    monkeypatch.setattr(cpu, "_has_accelerator", lambda: False)
    monkeypatch.setattr(cpu, "version", lambda name: "0.10.2")
    added = cpu.settings({"XLA_FLAGS": "--mine"})
    assert added["XLA_FLAGS"].startswith("--mine --xla_cpu")
    assert "hugetlb" in added["GLIBC_TUNABLES"]
    assert cpu.settings(added) == {}
    assert "GLIBC_TUNABLES" not in cpu.settings({"GLIBC_TUNABLES": "x"})
    assert cpu.settings({"JAX_PLATFORMS": "cuda"}) == {}
    assert cpu.settings({"JAXFER_CPU_SETTINGS": "0"}) == {}
    # A flag that a jaxlib does not know would stop the process.
    monkeypatch.setattr(cpu, "version", lambda name: "0.9.0")
    assert "XLA_FLAGS" not in cpu.settings({})


SHOW = "import os; print(os.environ.get('JAXFER_CPU_SETTINGS'), os.getpid())"


@pytest.mark.parametrize("first", ["", "import jax; "])
def test_a_process_starts_again_once_unless_it_has_jax(tmp_path, first, monkeypatch):
    monkeypatch.delenv("GLIBC_TUNABLES", raising=False)
    code = (
        f"{first}from jaxfer import cpu; cpu._has_accelerator = lambda: False; "
        "cpu.platform.libc_ver = lambda: ('glibc', '2.36'); "
        "print('begin', flush=True); cpu.apply(); "
        f"cpu.tell(); cpu.say('one line'); {SHOW}"
    )
    environ = {k: v for k, v in os.environ.items() if k != "JAXFER_CPU_SETTINGS"}
    done = subprocess.run(
        [sys.executable, "-c", code],
        cwd=tmp_path,
        env=environ,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("begin") == (1 if first else 2)
    settings = "None " if first else "GLIBC_TUNABLES"
    assert done.stdout.splitlines()[-1].startswith(settings)
    assert done.stderr.count("CPU settings") == (0 if first else 1)
    assert done.stdout.splitlines()[-2:-1] == ["one line"]


def test_commands_that_train_start_again_and_show_errors_alone(tmp_path):
    """The console script and `-m` alike; other subcommands stay as they are."""
    script = "import sys; from jaxfer.cli import main; sys.exit(main())"
    (tmp_path / "jaxfer").write_text(script)
    (tmp_path / "sitecustomize.py").write_text("print('begin')")  # by each process
    (tmp_path / "broken.py").write_text("def get_config(): return 1 / 0")
    environ = {k: v for k, v in os.environ.items() if k != "JAXFER_CPU_SETTINGS"}
    environ |= {"JAX_PLATFORMS": "cpu", "GLIBC_TUNABLES": "glibc.malloc.check=0"}
    places = [str(tmp_path), *filter(None, [os.environ.get("PYTHONPATH")])]
    environ["PYTHONPATH"] = os.pathsep.join(places)
    again = 1 + bool(cpu.settings(environ))
    jaxfer = str(tmp_path / "jaxfer")
    for words, processes in (
        (["-m", "jaxfer.launch", "--config", "nowhere"], 1),
        (["-m", "jaxfer.launch", "--config", "broken.py"], again),
        ([jaxfer, "train", "--config=broken.py"], again),
        ([jaxfer, "evaluate", "nowhere", "--train-too"], again),
        ([jaxfer, "evaluate", "nowhere"], 1),
    ):
        done = subprocess.run(
            [sys.executable, *words],
            cwd=tmp_path,
            env=environ,
            capture_output=True,
            text=True,
        )
        assert done.returncode == 2, done.stderr
        (line,) = done.stderr.splitlines()
        assert line.startswith("error: ") and re.search("nowhere|broken", line)
        assert done.stdout.count("begin") == processes, words


def test_programs_are_kept_where_jax_will_look(tmp_path):
    code = (
        "import sys; from jaxfer import cpu; cpu.use_compilation_cache(); "
        "assert 'jax' not in sys.modules; import jax; "
        "print(jax.config.jax_compilation_cache_dir)"
    )
    unset = {"JAX_COMPILATION_CACHE_DIR": "", "XDG_CACHE_HOME": str(tmp_path)}
    for chosen in ("", str(tmp_path / "mine")):
        environ = {**os.environ, **unset, "JAX_COMPILATION_CACHE_DIR": chosen}
        if not chosen:
            del environ["JAX_COMPILATION_CACHE_DIR"]
        done = subprocess.run(
            [sys.executable, "-c", code], env=environ, capture_output=True, text=True
        )
        expected = chosen or str(tmp_path / "jaxfer" / "xla")
        assert done.stdout.strip() == expected, done.stderr


def test_a_place_that_a_program_chose_for_jax_stays(monkeypatch):
    monkeypatch.delenv("JAX_COMPILATION_CACHE_DIR", raising=False)
    before = jax.config.jax_compilation_cache_dir
    assert before  # of the tests
    cpu.use_compilation_cache()
    assert jax.config.jax_compilation_cache_dir == before
    assert "JAX_COMPILATION_CACHE_DIR" not in os.environ


@pytest.mark.parametrize("name", cli._COMMANDS)
def test_commands_that_compile_keep_their_programs(monkeypatch, name):
    calls = []
    module = SimpleNamespace(
        add_arguments=lambda parser: None, main=lambda args: calls.append("main") or 0
    )
    monkeypatch.setattr(cli.importlib, "import_module", lambda _: module)
    monkeypatch.setattr(cpu, "use_compilation_cache", lambda: calls.append("cache"))
    assert cli.main([name]) == 0
    assert calls == (["main"] if name == "prepare" else ["cache", "main"])
