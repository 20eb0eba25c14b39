"""The report: numbers agree with the run files, user text is data, and the same runs give the same bytes."""

from __future__ import annotations

import io
import json
import re
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pypdf import PdfReader
from run_samples import finished_advice, finished_probe, pilot_config, pilot_folder

from toolkit.foundation.errors import UsageError, WorkError
from toolkit.foundation.files import write_json
from toolkit.jobs.listing import list_runs
from toolkit.language.catalogue import ENGLISH, language
from toolkit.learning.metrics import mean_and_ci95
from toolkit.report.contents import Report, write_report
from toolkit.report.facts import gain_over, gather_study
from toolkit.report.pdf import pages_of, pdf_of, with_known_glyphs
from toolkit.runs.find import find_runs
from toolkit.runs.folder import RunFolder

RAW, JPEG = (0.30, 0.34, 0.29), (0.41, 0.43, 0.45)


@pytest.fixture
def runs_dir(tmp_path: Path) -> Path:
    folder = tmp_path / "runs"
    folder.mkdir()
    for seed in range(3):
        pilot_folder(folder, pilot_config(codec="raw", align="none"), seed, RAW[seed])
        pilot_folder(folder, pilot_config(codec="jpeg:quality=50", align="both"), seed, JPEG[seed])
        pilot_folder(folder, pilot_config(codec="jpeg:quality=10", align="both"), seed, 0.35)
    return folder


def written(runs_dir: Path, code: str = "en", **options: Any) -> Report:
    return write_report(gather_study(list_runs(runs_dir)), language(code), **options)


def text_of(pdf: bytes) -> str:
    """All text without line breaks and the thin spaces of justification."""
    return re.sub(r"\s+", " ", " ".join(page.extract_text() for page in PdfReader(io.BytesIO(pdf)).pages))


def squeezed(text: str) -> str:
    return re.sub(r"\s+", "", text)


def test_the_numbers_in_the_report_agree_with_the_run_files(runs_dir: Path) -> None:
    text = squeezed(text_of(pdf_of(written(runs_dir))))
    for values in (RAW, JPEG):
        results = [json.loads(path.read_text()) for path in runs_dir.glob("*/result.json")]
        assert sorted(values) == sorted(one["last_accuracy"] for one in results if one["last_accuracy"] in values)
        mean, half = mean_and_ci95(values)
        assert half is not None
        assert f"{100 * mean:.1f}±{100 * half:.1f}" in text
    mean, half = mean_and_ci95([100 * (mine - raw) for mine, raw in zip(JPEG, RAW, strict=True)])
    assert f"{mean:+.1f}±{half:.1f}pointsover3seeds" in text


def test_the_matrix_is_the_mean_over_seeds(runs_dir: Path) -> None:
    report = written(runs_dir)
    (matrix,) = [block for block in report.blocks if block["kind"] == "matrix"]
    chosen = [json.loads(path.read_text()) for path in runs_dir.glob("*jpeg-quality-50*/result.json")]
    expected = np.mean([one["accuracy_matrix"][1] for one in chosen], axis=0)
    assert matrix["values"][1][:2] == pytest.approx(expected.tolist())
    assert matrix["values"][0][1] is None


def test_the_same_runs_give_the_same_bytes(runs_dir: Path) -> None:
    assert pdf_of(written(runs_dir)) == pdf_of(written(runs_dir))


def test_the_pdf_is_tagged_for_accessibility_and_embeds_its_fonts(runs_dir: Path) -> None:
    pdf = pdf_of(written(runs_dir, "ja"))
    reader = PdfReader(io.BytesIO(pdf))
    catalogue: Any = reader.trailer["/Root"]
    assert catalogue["/MarkInfo"]["/Marked"]
    assert catalogue["/Lang"] == "ja"
    assert "pdfuaid:part" in catalogue["/Metadata"].get_data().decode()
    assert len(pdf) < 3_000_000
    for page in reader.pages:
        for font in page["/Resources"].get("/Font", {}).values():  # type: ignore[union-attr]
            (inner,) = font.get_object()["/DescendantFonts"]
            assert "/FontFile3" in inner.get_object()["/FontDescriptor"] or "/FontFile2" in inner["/FontDescriptor"]


def test_every_japanese_text_of_the_report_has_its_glyphs(runs_dir: Path) -> None:
    report = written(runs_dir, "ja")
    assert with_known_glyphs(report) is report
    assert "どこまで圧縮できるか" in squeezed(text_of(pdf_of(report)))


MARKUP = ['#panic("no")', "$x$ *bold* `code` <label> @ref", "\\u{41} // gone?", "<b>&amp;</b>"]


@pytest.mark.parametrize("title", MARKUP)
def test_user_text_is_not_markup(runs_dir: Path, title: str) -> None:
    pdf = pdf_of(written(runs_dir, title=title, author=title))
    assert squeezed(title) in squeezed(text_of(pdf))
    assert PdfReader(io.BytesIO(pdf)).metadata.title == title  # type: ignore[union-attr]


def test_characters_without_a_glyph_are_boxes_and_named(runs_dir: Path) -> None:
    report = with_known_glyphs(written(runs_dir, title="A 🌵 in ꙮ"))
    assert report.title == "A □ in □"
    assert "U+1F335 cactus" in report.blocks[-1]["text"]
    pdf_of(report)


def test_a_title_that_is_too_long_is_refused(runs_dir: Path) -> None:
    with pytest.raises(UsageError, match="title: at most 200 characters, got 10000"):
        written(runs_dir, title="x" * 10_000)


def test_line_breaks_in_a_title_become_spaces(runs_dir: Path) -> None:
    assert written(runs_dir, title=" two\nlines\x00 ").title == "two lines"


def test_no_runs_are_refused() -> None:
    with pytest.raises(UsageError, match="at least one run"):
        gather_study([])


def test_runs_of_two_datasets_are_refused(runs_dir: Path) -> None:
    pilot_folder(runs_dir, pilot_config(size=48), 0, 0.5)
    with pytest.raises(UsageError, match="demo at 32 px, demo at 48 px"):
        gather_study(list_runs(runs_dir))


def test_unfinished_runs_are_named_and_left_out(runs_dir: Path) -> None:
    run = pilot_folder(runs_dir, pilot_config(codec="png", align="none"), 0)
    report = written(runs_dir)
    texts = [item for block in report.blocks if block["kind"] == "bullets" for item in block["items"]]
    assert any(run.name in text and "unfinished" in text for text in texts)


def test_without_a_finished_pilot_the_reason_names_the_states(tmp_path: Path) -> None:
    run = pilot_folder(tmp_path, pilot_config(), 0)
    with pytest.raises(WorkError, match=f"needs a finished pilot: {run.name} is lost"):
        gather_study([run])
    with pytest.raises(WorkError, match="none was given"):
        gather_study([finished_probe(tmp_path)])


def test_the_best_pilot_is_recommended_with_a_warning_about_the_test_images(runs_dir: Path) -> None:
    study = gather_study(list_runs(runs_dir))
    assert (study.pilot["codec"], study.by_advice) == ("jpeg:quality=50", False)
    assert any(
        "optimistic" in item
        for block in written(runs_dir).blocks
        for item in block.get("items", ())
        if isinstance(item, str)
    )


def test_piloted_advice_determines_the_recommendation(runs_dir: Path) -> None:
    for seed in range(3):  # the best on the test images, but not what the advice says
        pilot_folder(runs_dir, pilot_config(codec="webp:quality=50", align="both"), seed, 0.9)
    advice = finished_advice(runs_dir)
    result = dict(advice.result or {})
    result["budget_bytes"] = gather_study(list_runs(runs_dir, "pilot")).pilot["budget_bytes"]
    advice.result_path.write_text(json.dumps(result))
    study = gather_study(list_runs(runs_dir))
    assert (study.pilot["codec"], study.by_advice) == ("jpeg:quality=50", True)
    report = write_report(study, ENGLISH)
    assert any(
        "training images alone" in item
        for block in report.blocks
        for item in block.get("items", ())
        if isinstance(item, str)
    )


def test_gains_are_paired_by_seed(runs_dir: Path) -> None:
    study = gather_study(list_runs(runs_dir))
    assert study.raw is not None
    gain = gain_over(study.pilot, study.raw)
    mean, half = mean_and_ci95([11.0, 9.0, 16.0])
    assert (gain.points, gain.half, gain.seeds) == (pytest.approx(mean), pytest.approx(half), 3)
    assert gain.certain == (mean > (half or 0))


def test_gains_over_lossless_references_are_in_the_report(runs_dir: Path) -> None:
    exact = {"png": (0.30, 5.0), "jxl:lossless=yes": (0.31, 8.0), "original": (0.35, 7.0)}
    for codec, (accuracy, exemplars) in exact.items():
        for seed in (0, 1, 2):
            run = pilot_folder(runs_dir, pilot_config(codec=codec), seed, accuracy)
            write_json(run.result_path, {**(run.result or {}), "exemplars_per_class": exemplars})
    study = gather_study(list_runs(runs_dir))
    found = {gain["codec"]: gain for gain in study.as_dict()["gains_over_lossless"]}
    assert list(found) == ["jxl:lossless=yes", "original"]  # png stores fewer
    best = study.pilot["mean"]["last_accuracy"]
    assert found["original"]["points"] == pytest.approx(100 * (best - 0.35))
    text = squeezed(text_of(pdf_of(written(runs_dir))))
    assert squeezed("Over original, which changes no pixel and stores 7.0 exemplars per class") in text


def test_one_seed_is_not_presented_as_significant(tmp_path: Path) -> None:
    pilot_folder(tmp_path, pilot_config(codec="raw", align="none"), 0, 0.3)
    pilot_folder(tmp_path, pilot_config(codec="jpeg:quality=50", align="both"), 0, 0.6)
    (answer,) = [block for block in written(tmp_path).blocks if block["kind"] == "answer"]
    assert "One seed cannot separate" in answer["text"]


def test_images_that_cannot_be_opened_are_mentioned(runs_dir: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def gone(*given: object, **named: object) -> None:
        raise WorkError("the folder is gone")

    monkeypatch.setattr("toolkit.report.facts.load_dataset", gone)
    report = written(runs_dir)
    texts = [block.get("text", "") for block in report.blocks]
    assert any("could not be opened for this report: the folder is gone" in text for text in texts)
    pdf_of(report)


def test_pages_are_rendered_as_png(runs_dir: Path) -> None:
    pages = pages_of(written(runs_dir), 40)
    assert len(pages) == len(PdfReader(io.BytesIO(pdf_of(written(runs_dir)))).pages)
    assert all(page.startswith(b"\x89PNG") for page in pages)


def test_runs_are_found_by_path_by_name_and_by_folder(runs_dir: Path, tmp_path: Path) -> None:
    name = next(runs_dir.glob("*raw*s1")).name
    assert [run.name for run in find_runs([name], runs_dir)] == [name]
    assert [run.name for run in find_runs([str(runs_dir / name)], tmp_path)] == [name]
    assert len(find_runs([str(runs_dir)], tmp_path)) == 9
    (tmp_path / "empty").mkdir()
    with pytest.raises(UsageError, match="neither a run nor a folder of runs"):
        find_runs([str(tmp_path / "empty")], runs_dir)
    with pytest.raises(UsageError, match="no run in"):
        find_runs(["nothing-like-this"], runs_dir)


def test_a_run_of_another_version_is_refused(runs_dir: Path) -> None:
    run = RunFolder(next(runs_dir.glob("*raw*s1")))
    run.config_path.write_text(json.dumps({**json.loads(run.config_path.read_text()), "format": 99}))
    with pytest.raises(UsageError, match=run.name):
        find_runs([run.name], runs_dir)


def test_bounds_are_in_the_table_and_never_recommended(runs_dir: Path) -> None:
    for seed in range(3):
        pilot_folder(runs_dir, pilot_config(codec="raw", align="none", method="joint"), seed, 0.95)
    for path in runs_dir.glob("*joint*/result.json"):
        path.write_text(json.dumps({**json.loads(path.read_text()), "exemplars_per_class": 0.0, "memory_bytes": 0}))
    report = written(runs_dir)
    study = gather_study(list_runs(runs_dir))
    assert (study.pilot["method"], study.pilot["codec"]) == ("replay", "jpeg:quality=50")
    (table,) = [block for block in report.blocks if block["kind"] == "table" and block["marked"] is not None]
    assert next(row for row in table["rows"] if "joint" in row)[:4] == ["raw", "joint", "-", "0.0"]
    pdf_of(report)


def test_methods_without_exemplars_alone_give_no_report(tmp_path: Path) -> None:
    run = pilot_folder(tmp_path, pilot_config(method="finetune"), 0, 0.5)
    with pytest.raises(WorkError, match="with exemplars"):
        gather_study([run])


def test_the_same_run_given_twice_counts_once(runs_dir: Path, tmp_path: Path) -> None:
    copy = Path(shutil.copytree(runs_dir, tmp_path / "copy"))
    assert len(gather_study([*list_runs(runs_dir), *list_runs(copy)]).raw["runs"]) == 3  # type: ignore[index]


def test_pilots_without_a_common_seed_are_mentioned(tmp_path: Path) -> None:
    for seed in (0, 1):
        pilot_folder(tmp_path, pilot_config(codec="raw", align="none"), seed + 5, 0.3)
        pilot_folder(tmp_path, pilot_config(codec="jpeg:quality=50", align="both"), seed, 0.6)
    (answer,) = [block for block in written(tmp_path).blocks if block["kind"] == "answer"]
    assert "no seed in common" in answer["text"]


def test_a_renamed_run_folder_is_reported_as_before(runs_dir: Path) -> None:
    next(runs_dir.glob("*jpeg-quality-50*s0")).rename(runs_dir / "pilot-renamed-s0")
    pdf_of(written(runs_dir))


def test_advice_contradicted_by_the_pilots_is_not_an_instruction(runs_dir: Path) -> None:
    for seed in range(3):
        for path in runs_dir.glob(f"*raw*s{seed}/result.json"):
            path.write_text(json.dumps({**json.loads(path.read_text()), "last_accuracy": 0.8}))
    advice = finished_advice(runs_dir)
    result = dict(advice.result or {}) | {"budget_bytes": 614804}
    advice.result_path.write_text(json.dumps(result))
    (answer,) = [block for block in written(runs_dir).blocks if block["kind"] == "answer"]
    assert "do not confirm it" in answer["text"]
    assert "Store exemplars" not in answer["text"]
