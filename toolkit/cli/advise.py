"""``advise`` and ``regret``."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any

import typer

from toolkit.advice.calibration import ADVICE_IMAGES
from toolkit.advice.contents import AdviceResult, ProblemRegret, RegretResult, RuleRegret
from toolkit.advice.request import AdviceRequest
from toolkit.cli import console
from toolkit.cli.options import (
    CsvTo,
    JsonTo,
    Seed,
    Store,
    Threads,
    is_given,
)
from toolkit.cli.requests import options_of
from toolkit.foundation.errors import UsageError, WorkError, one_line
from toolkit.foundation.threads import set_threads


@options_of(AdviceRequest, size=32, codecs="", budget="")
def advise(
    chosen: dict[str, Any],
    store: Store = None,
    threads: Threads = 0,
    json: JsonTo = None,
    csv: CsvTo = None,
) -> None:
    """Recommend codec, rate and alignment for a budget without running pilots, with the expected error.

    The default budget is 20img, or 1img for images of 96 pixels or more.
    """
    from toolkit.codecs.spec import short_spec, with_store
    from toolkit.probe.presets import PRESETS, usual_budget

    set_threads(threads)
    codecs, budget = chosen["codecs"] or PRESETS["quick"], chosen["budget"] or usual_budget(chosen["size"])
    request = AdviceRequest(**chosen | {"codecs": with_store(codecs, store), "budget": budget})
    with console.progress_bar() as progress:
        result = request.run(progress)
    rows = [
        {
            "rule": row["rule"],
            "setting": short_spec(row["codec"]),
            "align": row["align"],
            "score": row["score"],
            "seconds": row["seconds"],
            "used": row["used"],
        }
        for row in result["rules"]
    ]
    console.table(f"{request.dataset} at {request.size} px: picks of all rules", rows, to_stderr="-" in (json, csv))
    console.lines(advice_lines(result), to_stderr="-" in (json, csv))
    console.emit(
        result, json, [{key: value for key, value in row.items() if key != "scores"} for row in result["rules"]], csv
    )


def advice_lines(result: AdviceResult) -> list[str]:
    """The recommendation of an ``advise`` JSON as lines of text."""
    from toolkit.codecs.spec import short_spec
    from toolkit.foundation.sizes import format_size
    from toolkit.report.sentences import runner_up_sentence

    recommended, budgets = result["recommended"], result["budgets"]
    second = recommended["runner_up"]
    lines = [f"Recommended: {short_spec(recommended['codec'])}, align {recommended['align']}"]
    lines += [f"  {reason}" for reason in recommended["reasons"]]
    if second is not None:
        lines.append(f"  {runner_up_sentence(second)}")
    lines += [f"  {change}" for change in recommended["would_change"]]
    if (smallest := budgets["smallest"]) is not None:
        lines.append(
            f"  Smallest budget within {_counted(budgets['within_points'], 'point')} of keeping every image raw, as "
            f"{budgets['rule']} expects: {format_size(smallest['budget_bytes'])} "
            f"({short_spec(smallest['codec'])}, align {smallest['align']})."
        )
    lines += [f"note: {note}" for note in result["notes"]]
    lines += [f"left out: {short_spec(one['codec'])}: {one['reason']}" for one in result["excluded"]]
    return lines


def regret(
    context: typer.Context,
    runs_dir: Annotated[
        Path | None,
        typer.Option(help="evaluate the rules on finished pilots in this folder, not the package's study"),
    ] = None,
    extractor: Annotated[str, typer.Option(help="features that the rules see, with --runs-dir")] = "stage0",
    images: Annotated[int, typer.Option(help="maximum number of training images", min=4)] = ADVICE_IMAGES,
    seed: Seed = 0,
    threads: Threads = 0,
    json: JsonTo = None,
    csv: CsvTo = None,
) -> None:
    """Show how far each rule's pick fell short of the best piloted choice, in the package's study or your pilots."""
    set_threads(threads)
    if runs_dir is None:
        result = _package_regret(context, extractor)
        title = f"features of {result['extractor']}"
    else:
        result = _own_regret(runs_dir, extractor, images, seed)
        title = f"pilots in {runs_dir}"
    _show_regret(result, title, to_stderr="-" in (json, csv))
    rows = [{key: value for key, value in row.items() if key != "problems"} for row in result["regret"]]
    console.emit(result, json, rows, csv)


def _package_regret(context: typer.Context, extractor: str) -> RegretResult:
    """The package's study; options that would change it are refused."""
    from toolkit.advice.calibration import calibration

    known = calibration()
    for name in ("images", "seed"):
        if is_given(context, name):
            raise UsageError(f"the package's table is fixed: --{name} needs --runs-dir")
    if extractor != known.extractor:
        raise UsageError(
            f"the package's table is for features of {known.extractor}, got --extractor {extractor}: that needs "
            "--runs-dir"
        )
    return {
        "extractor": known.extractor,
        "problems": known.problems,
        "regret": known.regret,
        "within_reach": known.within_reach,
    }


def _show_regret(result: RegretResult, title: str, to_stderr: bool) -> None:
    """Print the table of rules, the best achievable regret, and the default rule's picks."""
    from toolkit.advice.calibration import calibration

    rows, names = result["regret"], result["problems"]
    shown = [
        {
            "rule": row["rule"],
            "mean regret": row["mean_regret"],
            "worst": row["worst_regret"],
            "behind pilots": row["behind_pilots"],
            "rank correlation": row["spearman"],
            "% of pilots' time": _percent(row["time_share"]),
        }
        for row in rows
    ]
    console.table(
        f"Regret in points of last accuracy, {_counted(len(names), 'problem')}, {title}", shown, to_stderr=to_stderr
    )
    reach = [
        {
            "problem": row["problem"],
            "choices": row["choices"],
            "standard error": _percent(row["standard_error"]),
            "unaligned": _percent(row["standard_error_unaligned"]),
            "regret": row["regret"],
            "correlation": row["correlation"],
        }
        for row in result["within_reach"]
    ]
    console.table("Best achievable regret given seed noise", reach, to_stderr=to_stderr)
    default = next(row for row in rows if row["rule"] == calibration().default_rule)
    firsts: dict[str, ProblemRegret] = {}
    for one in default["problems"]:
        firsts.setdefault(one["problem"], one)
    picks = [
        {
            "problem": one["problem"],
            "codec": one["codec"],
            "align": one["align"],
            "regret": one["regret"],
            "gain over raw": one["gain"],
            "expected": one["expected_gain"],
        }
        for one in firsts.values()
    ]
    console.table(f"Picks of {default['rule']}, advice of the first seed", picks, to_stderr=to_stderr)
    console.lines(
        [*(f"problem: {name}" for name in names), *_in_sample(rows), *result.get("left_out", [])],
        to_stderr=to_stderr,
    )


def _in_sample(rows: list[RuleRegret]) -> list[str]:
    """Rules that were fitted on the pilots they are evaluated on here, or on other pilots of the same images."""
    lines = []
    for row in rows:
        flattered = list(dict.fromkeys(one["problem"] for one in row["problems"] if one["in_sample"]))
        if flattered:
            everywhere = len(flattered) == len({one["problem"] for one in row["problems"]})
            where = "" if everywhere else f" in {'; '.join(flattered)}"
            lines.append(f"{row['rule']}: fitted on pilots of these images{where}")
    return lines


def _counted(number: float, what: str) -> str:
    """``1 point``, ``0.5 points``."""
    return f"{number:g} {what}{'' if number == 1 else 's'}"


def _percent(share: float | None) -> float | None:
    return None if share is None else 100 * share


def _own_regret(runs_dir: Path, extractor: str, images: int, seed: int) -> RegretResult:
    """Problem names, tables and measurements from the finished pilots in a folder.

    A problem is left out if it cannot be measured, for instance because its images are gone.
    """
    from toolkit.advice.calibration import calibration
    from toolkit.advice.regret.table import reach_table, regret_table
    from toolkit.jobs.listing import list_runs
    from toolkit.pilots.as_problems import LEAST_CHOICES, measure_problem, problems_in, tell_apart

    if not runs_dir.is_dir():
        raise UsageError(f"{runs_dir} is not a folder of runs")
    groups = problems_in(list_runs(runs_dir, "pilot"))
    if not groups:
        raise UsageError(
            f"{runs_dir} needs finished pilots of raw and of at least {LEAST_CHOICES - 1} other choices that differ "
            "only in codec and alignment"
        )
    problems, left_out = [], []
    names = tell_apart([pilots[0]["config"] for pilots in groups])
    with console.progress_bar() as progress:
        for name, pilots in zip(names, groups, strict=True):
            try:
                problem = measure_problem(pilots, extractor=extractor, images=images, seed=seed, progress=progress)
                problems.append(replace(problem, name=name))
            except (UsageError, WorkError) as error:
                if len(groups) == 1:
                    raise
                left_out.append(f"left out: {name}: {one_line(error)}")
    if not problems:
        raise UsageError(f"none of the {len(groups)} problems in {runs_dir} can be measured; {left_out[0]}")
    return {
        "extractor": extractor,
        "left_out": left_out,
        "problems": [one.name for one in problems],
        "regret": regret_table(problems, calibration()),
        "within_reach": reach_table(problems),
        "measured": [one.as_dict() for one in problems],
    }
