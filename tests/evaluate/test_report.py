"""The report page: complete, self-contained, well-formed, and true."""

import csv
import json
import re
from xml.etree import ElementTree

import numpy as np
import pytest

from jaxfer.errors import DataError
from jaxfer.evaluate import curves
from jaxfer.evaluate.examples import choose
from jaxfer.evaluate.facts import limits, protocol, splits
from jaxfer.evaluate.report import write_report
from jaxfer.evaluate.run_folder import by_rate, epochs_of, load
from jaxfer.evaluate.summary import summarize


def picture(row):
    rng = np.random.default_rng(row)
    return rng.integers(0, 256, (64, 48, 3)).astype(np.uint8)


@pytest.fixture(scope="module")
def report(run_writer, tmp_path_factory):
    path = tmp_path_factory.mktemp("report") / "run"
    run_writer(path, folds=3, examples=120)
    wait_for_images(path / "metrics.csv")
    return path, write_report(path, picture).read_text()


def wait_for_images(path):
    """Let the first epoch of stage joint wait for streamed images."""
    with path.open(newline="") as file:
        rows = list(csv.DictReader(file))
    for row in rows:
        if row["stage"] == "joint":
            first = row["epoch"] == "0"
            row["input/wait"] = 0.25 if first else 0.0
            row["input/workers"] = 3 if first else ""
    with path.open("w", newline="") as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)


def test_is_complete_and_self_contained(report, parse):
    path, text = report
    page = parse(text)
    sections = "results ablation classes calibration curves fusion examples data"
    assert {*sections.split(), "environment", "limits"} <= set(page.ids)
    assert "robustness" not in page.ids
    assert all(link.startswith(("#", "data:")) for link in page.links)
    assert {link[1:] for link in page.links if link[0] == "#"} <= set(page.ids)
    assert len(page.ids) == len(set(page.ids))
    assert "@import" not in text and "<script" not in text
    assert re.findall(r"url\((?!#)", text) == []
    addresses = set(re.findall(r"https?://[^\s\"'<]+", text))
    assert all(a.startswith("http://www.w3.org/") for a in addresses)  # namespaces
    assert len(list((path / "report").iterdir())) == 2  # nothing half-written


def test_tells_of_waiting_for_images_and_how_many_workers_would_keep_up(report):
    path, text = report
    epochs = len(set(load(path).history["epoch"]))
    found = summarize(path)["timing"]["waits"]
    assert found == {"joint": {"share": pytest.approx(0.25 / epochs), "workers": 3}}
    assert "<dt>Stage joint waited for images</dt>" in text
    assert f"{25 / epochs:.1f} % of its training; 3 workers would keep up" in text
    assert "Stage fusion waited" not in text


def test_figures_are_well_formed_and_follow_the_theme(report):
    figures = re.findall(r"<svg.*?</svg>", report[1], re.DOTALL)
    assert len(figures) == 7  # ablation, reliability, alpha, two stages of two
    for figure in figures:
        root = ElementTree.fromstring(figure)
        assert root.attrib["role"] == "img" and root.attrib["aria-label"]
        assert "var(--ink)" in figure
        assert not re.search(r"#0[1-7]0[1-7]0[1-7]", figure)
        assert "DejaVu" not in figure


def test_shows_the_results_file(report, parse):
    path, text = report
    results = json.loads((path / "report" / "results.json").read_text())
    assert results == json.loads(json.dumps(summarize(path)))
    words = " ".join(" ".join(parse(text).text).split())
    accuracy = results["selections"]["best_by_validation"]["accuracy"]
    assert f"{100 * accuracy['mean']:.1f} % ± {100 * accuracy['std']:.1f}" in words
    assert results["command"] in words
    assert "Best on test (optimistic)" in words
    last = results["selections"]["last"]["loss"]
    assert f"{last['mean']:.3f} ± {last['std']:.3f}" in words
    assert "1 pair found" in words
    assert "Left out: 4 images (no majority)." in words


def test_plain_runs_leave_sections_out(make_run, parse, undrawn):
    path = make_run(
        folds=1, examples=60, cfnet=False, validation=False, stages={"train": 1}
    )
    (path / "split_manifest.csv").unlink()
    page = parse(write_report(path).read_text())
    assert not {"ablation", "fusion", "robustness"} & set(page.ids)
    assert not any(link.startswith("data:image") for link in page.links)
    words = " ".join(" ".join(page.text).split())
    assert "of one run" in words and "Nothing" not in words
    (path / "metrics.csv").unlink()
    assert "curves" not in parse(write_report(path).read_text()).ids


def accuracy(value):
    return f"{100 * value:.1f}"


@pytest.mark.parametrize("rates", [(), (0.1, 0.2)])
def test_one_epoch_is_points_side_by_side_with_their_values(make_run, rates):
    path = make_run(folds=2, examples=60, stages={"train": 1, "more": 2}, rates=rates)
    folder = load(path)
    for metric, form in (("accuracy", accuracy), ("loss", "{:.3f}".format)):
        if rates:
            groups = by_rate(folder)
            figure = curves.rate_curve(groups, "train", metric)
            runs = [group.runs for _, group in groups]
            columns = [f"test/{metric}"] * 2
        else:
            figure = curves.learning_curve(folder, "train", metric)
            runs = [folder.runs] * 3
            columns = [f"{part}/{metric}" for part in ("train", "validation", "test")]
        ticks = re.findall(r'id="[^"]*xtick_\d+".*?<text[^>]*>([^<]*)<', figure, re.S)
        assert ticks == ["1"]
        shown = re.findall(r"<text[^>]*>([^<]*)<", figure)
        for column, mine in zip(columns, runs):
            found = [epochs_of(folder.history, run, "train")[column] for run in mine]
            mean = np.mean(found)
            assert form(mean) in shown
    several = curves.rate_curve([(0.0, folder)], "more", "accuracy")
    ticks = re.findall(r'id="[^"]*xtick_\d+".*?<text[^>]*>([^<]*)<', several, re.S)
    assert ticks == ["1", "2"]


def test_a_sparse_run_record_is_enough(make_run, undrawn):
    path = make_run(folds=2, examples=60)
    info = json.loads((path / "run.json").read_text())
    needed = ("dataset", "class_names", "method", "stages", "runs")
    (path / "run.json").write_text(json.dumps({name: info[name] for name in needed}))
    assert "Not looked for." in write_report(path).read_text()


def test_names_are_escaped(make_run):
    path = make_run(folds=2, examples=60, stages={"train": 1})
    info = json.loads((path / "run.json").read_text())
    info["class_names"][0] = "<i>&"
    info["command"] = 'python --workdir "<x>"'
    (path / "run.json").write_text(json.dumps(info))
    text = write_report(path).read_text()
    assert "<x>" not in text and "<i>&" not in text
    for figure in re.findall(r"<svg.*?</svg>", text, re.DOTALL):
        ElementTree.fromstring(figure)


def test_same_folder_same_page(report):
    path, text = report
    assert write_report(path, picture).read_text() == text


def test_robustness_has_a_row_and_a_curve(make_run, parse):
    path = make_run(folds=2, examples=60, cfnet=False, stages={"train": 1})
    accuracy = {"mean": 0.5, "std": 0.1, "n": 2, "runs": [0.4, 0.6]}
    entries = {
        f"{where} {size}": {
            "corruption": {"name": "gaussian_blur", "kernel_size": size},
            "where": where,
            "selection": "best_by_validation",
            "accuracy": accuracy,
        }
        for where in ("test", "train_and_test")
        for size in (3, 15)
    }
    (path / "report").mkdir()
    (path / "report" / "robustness.json").write_text(json.dumps(entries))
    text = write_report(path).read_text()
    assert "robustness" in parse(text).ids and "Blur, 15 × 15" in text
    assert "blur of test images alone" in text
    results = json.loads((path / "report" / "results.json").read_text())
    assert results["robustness"] == entries


def test_examples_are_what_they_say(make_run):
    path = make_run(folds=3, examples=120)
    folder = load(path)
    shown = []

    def image_of(row):
        shown.append(row)
        return picture(row)

    examples = choose(folder, "best_by_validation", image_of)
    assert len(examples["right"]) == 12
    assert all(e["true"] == e["predicted"] for e in examples["right"])
    assert all(e["true"] != e["predicted"] for e in examples["wrong"])
    assert len({e["true"] for e in examples["right"]}) >= 6  # classes take turns
    sureness = [e["confidence"] for e in examples["wrong"]]
    assert sureness == sorted(sureness, reverse=True)
    assert shown == [e["row"] for kind in ("right", "wrong") for e in examples[kind]]
    for example in examples["wrong"]:
        table = np.load(path / f"fold_{example['fold']:02}/predictions_validation.npz")
        label = table["label"][table["index"] == example["row"]][0]
        assert folder.class_names[label] == example["true"]


def test_splits_count_images_and_shared_subjects(make_run):
    path = make_run(folds=2, examples=60)
    first = splits(load(path))[0]
    assert (first["train"], first["validation"], first["test"]) == (24, 6, 30)
    assert first["shared"] == 0
    manifest = (path / "split_manifest.csv").read_text()
    (path / "split_manifest.csv").write_text(manifest.replace("S100", "S000"))
    assert splits(load(path))[0]["shared"] == 1
    notes = limits(load(path), summarize(path), splits(load(path)))
    assert any("Up to 1 subject" in note for note in notes)


def test_says_which_epochs_validation_chose_among(make_run, undrawn):
    path = make_run()
    words = "Validation chose among the last"
    assert words not in write_report(path).read_text()
    config = json.loads((path / "config.json").read_text())
    config["method"]["select_after"] = 0.9
    (path / "config.json").write_text(json.dumps(config))
    assert f"{words} 10 % of the epochs" in write_report(path).read_text()


def test_unfinished_runs_are_refused(make_run):
    path = make_run(folds=2, examples=60)
    (path / "run.json").unlink()
    with pytest.raises(DataError, match="not finished"):
        write_report(path)


def test_a_training_on_corrupted_images_says_so(make_run):
    path = make_run(folds=2, examples=60)
    config = json.loads((path / "config.json").read_text())
    assert "corrupted" not in protocol(load(path))
    config["data"]["corruption"]["name"] = "gaussian_blur"
    (path / "config.json").write_text(json.dumps(config))
    assert "in training and test alike (blur, 15 × 15)" in protocol(load(path))


def test_a_folder_that_cannot_be_written_is_explained(make_run, undrawn):
    path = make_run(folds=2, examples=60)
    (path / "report").write_text("in the way")
    with pytest.raises(DataError, match=r"could not be written.*jaxfer evaluate"):
        write_report(path)


def test_many_classes_are_not_listed(make_run, widen, undrawn, parse):
    path = widen(make_run(folds=2, examples=90, cfnet=False))
    text = write_report(path).read_text()
    assert "classes" in parse(text).ids
    assert "There are 300 classes, too many to list" in text
    assert "c299" not in text and "Images by class" not in text
    results = json.loads((path / "report" / "results.json").read_text())
    assert "confusion" not in results
    assert results["per_class"]["last"][299]["class"] == "c299"
