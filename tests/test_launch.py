import os
import subprocess
import sys
from pathlib import Path

import pytest

from jaxfer import cpu, launch
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
    with pytest.raises(ConfigError, match=r"optim\.learning_rate"):
        launch.resolve(["x", "--config=quickstart", "--config.optim.learnin_rate=1"])
    with pytest.raises(ConfigError, match="name a config"):
        launch.resolve(["x"])


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
