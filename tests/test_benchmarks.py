import importlib
import json
import math
import shutil
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]


@pytest.fixture
def run(monkeypatch):
    monkeypatch.syspath_prepend(ROOT)
    return importlib.import_module("benchmarks.run")


def test_short_run_measures_and_says_what_is_missing(run, monkeypatch, tmp_path):
    output = tmp_path / "figures.json"
    absent = run.find_spec

    def only_jax(name):
        return None if name == "onnxruntime" else absent(name)

    monkeypatch.setattr(run, "find_spec", only_jax)
    monkeypatch.setattr(
        run, "tasks", lambda options: ["throughput"]
    )  # latency is the same program with one image
    chosen = "--short --systems lfnsb --what infer"
    forms = "plain,unfused,ours,onnxruntime"
    run.main([*chosen.split(), "--forms", forms, "--output", str(output)])
    rows = {row["form"]: row for row in json.loads(output.read_text())["results"]}
    assert set(rows) == {"plain", "unfused", "ours", "onnxruntime"}
    skipped = rows["onnxruntime"]["skipped"]
    assert skipped.startswith("onnxruntime") and skipped.endswith("not installed")
    for form in ("plain", "unfused", "ours"):
        row = rows[form]
        assert row["median_s"] > 0 and row["compile_s"] > 0, row
        assert row["peak_bytes"] > 2**20
        assert row["images_per_s"] == pytest.approx(row["batch"] / row["median_s"])
        assert all(math.isfinite(x) for call in row["values"] for x in call)
        assert row["largest_difference"] < 1e-3
    assert rows["ours"]["ours_is_faster_by"] == 1
    # Fused: our network has the same weights in fewer arrays.
    assert rows["ours"]["parameters"] == rows["plain"]["parameters"]
    train = run.create_case(run.parse(["--short"]), "lfnsb", "train", "unfused")
    assert run.unavailable(train) == "inference alone"


def test_launcher_settings_are_ours_alone(run, monkeypatch):
    started, processes = [], importlib.import_module("benchmarks.processes")
    monkeypatch.setattr(
        processes.subprocess, "Popen", lambda command, env, **_: started.append(env)
    )
    settings = {"GLIBC_TUNABLES": "x"}
    monkeypatch.setattr(processes.cpu, "settings", lambda environ: settings)
    monkeypatch.delenv("GLIBC_TUNABLES", raising=False)
    options = run.parse(["--short"])
    for form in ("plain", "unfused", "ours", "torch"):
        run.Worker(run.create_case(options, "lfnsb", "train", form))
    assert [env.get("GLIBC_TUNABLES") for env in started] == [None, "x", "x", None]


def test_refuses_unknown_names_and_filling_the_memory_of_a_host(run, capsys):
    for wrong in ("--systems alexnet", "--what nothing", "--what largest"):
        with pytest.raises(SystemExit):
            run.parse(wrong.split())
    assert "--device gpu" in capsys.readouterr().err


def test_an_accelerator_is_measured_whole_and_in_bfloat16(run):
    options = run.parse(["--device", "gpu"])
    tasks = ["train", "latency", "throughput", "folds", "largest"]
    assert run.tasks(options) == tasks and options.precision == "bfloat16"
    others = ["torch", "torch.compile", "onnxruntime"]
    assert options.forms == ["plain", "unfused", "ours", *others]
    on_cpu = run.parse([])
    assert run.tasks(on_cpu) == tasks[:3] and on_cpu.precision == "float32"


def test_ratio_is_of_turns_and_disagreement_is_told(run):
    table = importlib.import_module("benchmarks.table")
    shared = {"precision": "bfloat16", "software": "jax, NVIDIA H100", "median_s": 1.0}
    rows = {
        "ours": {"values": [[1.0, 2.0]], "parameters": 3, "flops": 4945e11, **shared},
        "torch": {"values": [[1.0, 1.0]], "parameters": 4, **shared, "median_s": 2.0},
    }
    run.compare(rows, {"ours": [[1.0], [2.0], [1.0]], "torch": [[3.0], [4.0], [2.0]]})
    assert rows["torch"]["ours_is_faster_by"] == 2
    assert rows["torch"]["largest_difference"] == 0.5
    assert "VALUES DIFFER" in table.notes(rows["torch"])
    assert "PARAMETERS DIFFER" in table.notes(rows["torch"])
    assert table.notes(rows["ours"] | {"largest_difference": 0.09}).count("VALUES") == 0
    for row in rows.values():  # after a step in bfloat16, weights are others
        row |= {"task": "train", "values": [[1.0], row["values"][0][1:]]}
    run.compare(rows, {"ours": [[1.0]], "torch": [[2.0]]})
    assert rows["torch"]["largest_difference"] == 0
    wide = {form: row | {"precision": "float32"} for form, row in rows.items()}
    run.compare(wide, {"ours": [[1.0]], "torch": [[2.0]]})
    assert wide["torch"]["largest_difference"] == 0.5
    # Both did the same operations, half and a quarter of what the card can do.
    assert table.notes(rows["ours"]) == "; 50 % of the card's peak"
    assert table.notes(rows["torch"]).startswith("; 25 % of the card's peak")


def test_both_precisions_are_trained_and_told(
    monkeypatch, finished_toy, tmp_path, capsys
):
    monkeypatch.syspath_prepend(ROOT)
    precision, asked = importlib.import_module("benchmarks.precision"), []

    def train(config, folder, say):
        asked.append(config.to_dict())
        shutil.copytree(finished_toy, folder, dirs_exist_ok=True)

    monkeypatch.setattr("jaxfer.train.run", train)
    report = precision.main(["--short", "--output", str(tmp_path / "found.json")])
    assert json.loads((tmp_path / "found.json").read_text()) == report
    assert [fields.pop("precision") for fields in asked] == ["float32", "bfloat16"]
    assert asked[0] == asked[1]  # nothing else differs
    assert report["difference"] == 0 and report["float32"]["accuracy"]["mean"] > 0.8
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[0] for line in lines] == ["float32", "bfloat16", "bfloat16"]
