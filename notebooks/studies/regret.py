"""The regret study: how far is advice without pilots from the best choice of exhaustive pilots?

Six problems with a ResNet-8, three seeds of every choice; each seed also draws the class order, the same for every
choice. Five problems are pilots of replay; the sixth is the demo with iCaRL and twice the budget, to see the effect of
another method and budget. Then every rule picks a choice, with features of three extractors and parameters fitted on
the other datasets. Takes about seven hours on one core; a stopped study resumes where it stopped.

    python notebooks/studies/regret.py DATA [--runs-dir RUNS] [--problems road,demo] [--publish]

DATA holds tiny-imagenet-20 and flowers17. Writes ``results/regret.json`` (pilots and the rules' evidence),
``results/regret.md`` (tables) and ``results/regret.svg``; ``--publish`` also writes the package's calibration.
``--report`` runs no pilots, but evaluates the rules, which codes images and trains extractors.
"""

from __future__ import annotations

import hashlib
import itertools
import json
import sys
from pathlib import Path
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
from study import RESULTS, Study, parser

from toolkit.advice import calibration
from toolkit.advice.calibration import RANDOM
from toolkit.advice.problem import Problem
from toolkit.advice.regret.table import calibrate_rules, left_out_scores, reach_table, regret_table
from toolkit.foundation.files import read_json, write_json
from toolkit.foundation.threads import set_threads
from toolkit.pilots.as_problems import LEAST_CHOICES, measure_problem
from toolkit.pilots.config import PilotConfig, make_pilot_config
from toolkit.pilots.contents import PilotSummary

_EVIDENCE = 6
"""Version of rules and quantities; increase it to evaluate them again."""
SEEDS = (0, 1, 2)
ADVICE_SEEDS = (0, 1, 2)
"""Seeds of the advice: class order, extractor and draws."""
EXTRACTORS = ("stage0", "self", "random")
TABLES = Path(__file__).parent / "tables"
LEARNED = f"learned-jpeg:tables={TABLES / 'tables-tiny-imagenet-20-0.03.json'}"
LEARNED_FLOWERS = f"learned-jpeg:tables={TABLES / 'tables-flowers17-0.03.json'}"
"""From the JPEG layer study, with a rate weight of 0.03."""
ROAD = (
    "jpeg:quality=50",
    "jpeg:quality=50,subsampling=420",
    "jpeg:quality=20",
    "jpeg:quality=75",
    "webp:quality=50",
    "avif:quality=40",
    "jpeg2000:psnr=27",
)
SMALL = (*ROAD, "webp:quality=80", "avif:quality=60", LEARNED)
LARGE = (
    "jpeg:quality=10",
    "jpeg:quality=30",
    "jpeg:quality=60",
    "webp:quality=10",
    "webp:quality=50",
    "avif:quality=20",
    "avif:quality=45",
    "jpeg2000:psnr=27",
    "downscale:factor=2|jpeg:quality=60",
    LEARNED,
)
"""At 64 px."""


def grid(dataset: str, lossy: tuple[str, ...], unaligned: tuple[str, ...], **shared: Any) -> list[PilotConfig]:
    """All choices of a problem: raw and png, every lossy setting aligned, some also unaligned, two with ``train``."""
    choices = [("raw", "none"), ("png", "none"), *((codec, "both") for codec in lossy)]
    choices += [(codec, "none") for codec in unaligned] + [(codec, "train") for codec in unaligned[1:3]]
    return [make_pilot_config(dataset=dataset, codec=codec, align=align, **shared) for codec, align in choices]


def problems(data: Path) -> dict[str, list[PilotConfig]]:
    """The pilots of every problem."""
    tiny, flowers = str(data / "tiny-imagenet-20"), str(data / "flowers17")
    unaligned = ("jpeg:quality=30", "webp:quality=10", "avif:quality=20", "jpeg2000:psnr=27")
    return {
        "road": grid(tiny, SMALL, (*ROAD, LEARNED), size=32, initial=4, increment=4, budget="4img", steps=200),
        "demo": grid(
            "demo",
            SMALL,
            (*ROAD[:2], *ROAD[4:], LEARNED),
            size=32,
            initial=2,
            increment=2,
            budget="3img",
            steps=100,
            batch_size=64,
        ),
        "halves": grid(
            tiny,
            SMALL,
            (*ROAD[:2], *ROAD[4:], LEARNED),
            size=32,
            initial=10,
            increment=5,
            budget="10img",
            steps=200,
            batch_size=64,
        ),
        "flowers": grid(
            flowers,
            (*LARGE[:-1], LEARNED_FLOWERS),
            unaligned,
            size=64,
            initial=5,
            increment=4,
            budget="2img",
            steps=100,
            batch_size=64,
        ),
        "large": grid(tiny, LARGE, unaligned, size=64, initial=4, increment=4, budget="2img", steps=100, batch_size=64),
        "icarl": grid(
            "demo", SMALL, (), size=32, initial=2, increment=2, budget="6img", steps=100, batch_size=64, method="icarl"
        ),
    }


def main() -> None:
    command_line = parser(__doc__, "regret", "the folder that holds tiny-imagenet-20 and flowers17")
    command_line.add_argument("--problems", default="", help="comma-separated; all by default")
    command_line.add_argument("--publish", action="store_true", help="write the package's calibration")
    asked = command_line.parse_args()
    set_threads(asked.threads)
    study = Study("regret", asked.runs_dir, asked.afresh)
    grids = problems(Path(asked.dataset).resolve())
    chosen = asked.problems.split(",") if asked.problems else list(grids)
    if not asked.report:
        run_pilots({name: grids[name] for name in chosen}, study)
    finished = {name: _finished(configs, study) for name, configs in grids.items()}
    held = read_json(study.path).get("measured", []) if study.path.exists() else []
    own = [pilot for configs in grids.values() for config in configs if (pilot := study.summary(config, SEEDS))]
    measured: list[dict[str, Any]] = []
    for extractor in EXTRACTORS:
        for name, pilots in finished.items():
            if len(pilots) >= LEAST_CHOICES and pilots[0]["codec"] == "raw":
                measured += _measured(study, name, extractor, pilots, held)
                study.write(own, "python notebooks/studies/regret.py DATA", measured=measured + _not_in(held, measured))
    by_extractor = {
        extractor: [Problem.from_dict(one["problem"]) for one in measured if one["extractor"] == extractor]
        for extractor in EXTRACTORS
    }
    study.write(own, "python notebooks/studies/regret.py DATA", measured=measured)
    study.write_tables(as_tables(by_extractor) + reach_as_table(by_extractor[EXTRACTORS[0]]))
    draw(by_extractor[EXTRACTORS[0]], RESULTS / "regret.svg")
    if asked.publish:
        known = {"extractor": EXTRACTORS[0], **calibrate_rules(by_extractor[EXTRACTORS[0]])}
        write_json(calibration.PATH, known)


def run_pilots(grids: dict[str, list[PilotConfig]], study: Study) -> None:
    """Run missing pilots, unaligned lossy settings last, since a problem has twelve choices without them."""
    for last in (False, True):
        for name, configs in grids.items():
            chosen = [one for one in configs if (one.align != "both" and one.codec not in ("raw", "png")) == last]
            for seed, config in itertools.product(SEEDS, chosen):
                print(name, end=" ", file=sys.stderr)
                study.run(config, seed)


def _finished(configs: list[PilotConfig], study: Study) -> list[PilotSummary]:
    """The pilots of a problem that have all seeds, with local paths."""
    pilots = [pilot for config in configs if (pilot := study.pilot(config, SEEDS)) is not None]
    return [pilot for pilot in pilots if len(pilot["runs"]) == len(SEEDS)]


def _measured(
    study: Study, name: str, extractor: str, pilots: list[PilotSummary], held: list[dict[str, Any]]
) -> list[dict[str, Any]]:
    """The evidence of every rule for each of :data:`ADVICE_SEEDS`; reused while the pilots are unchanged."""
    known = [[study.publish(pilot)["config"], pilot["mean"]["last_accuracy"]] for pilot in pilots]
    key = hashlib.sha256(json.dumps([_EVIDENCE, known], sort_keys=True).encode()).hexdigest()[:16]
    rows = []
    for seed in ADVICE_SEEDS:
        same = {"name": name, "extractor": extractor, "seed": seed, "pilots": key}
        saved = next((one for one in held if same.items() <= one.items()), None)
        if saved is None:
            print(f"evaluating the rules: {name}, {extractor}, seed {seed}", flush=True)
            saved = {**same, "problem": measure_problem(pilots, extractor=extractor, seed=seed).as_dict()}
        rows.append(saved)
    return rows


def _not_in(held: list[dict[str, Any]], measured: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Evidence of an earlier run that this one has not reached yet."""
    done = [(one["name"], one["extractor"], one["seed"]) for one in measured]
    return [one for one in held if (one["name"], one["extractor"], one["seed"]) not in done]


def as_tables(by_extractor: dict[str, list[Problem]]) -> str:
    """Markdown tables: the rules with the main extractor, then the rules with every extractor."""
    main_ = by_extractor[EXTRACTORS[0]]
    names = list(dict.fromkeys(problem.name for problem in main_))
    datasets = {problem.dataset for problem in main_}
    lines = [
        "Regret in points of last accuracy: best choice measured by pilots minus the rule's pick; mean over "
        f"{len(ADVICE_SEEDS)} draws of advice. Parameters are fitted on the problems of other datasets. Behind pilots: "
        "the gain of the best choice in all but one of the pilots' seeds over the rule's pick in the seed left out.",
        *(["With only one dataset, they are fitted on it."] if len(datasets) == 1 else []),
        "",
        f"Features: {EXTRACTORS[0]}",
        "",
        "| rule | mean | worst | behind pilots | rank correlation | share of the pilots' time | "
        + " | ".join(names)
        + " |",
        "|---|--:|--:|--:|--:|--:|" + "--:|" * len(names),
    ]
    table = regret_table(main_)
    for row in table:
        each = [np.mean([one["regret"] for one in row["problems"] if one["problem"] == name]) for name in names]
        lines.append(
            f"| `{row['rule']}` | {row['mean_regret']:.1f} | {row['worst_regret']:.1f} | "
            f"{_or_dash(row['behind_pilots'], 1)} | {_or_dash(row['spearman'])} | "
            f"{100 * row['time_share']:.1f} % | {' | '.join(f'{value:.1f}' for value in each)} |"
        )
    common = [name for name in names if all(name in {one.name for one in of} for of in by_extractor.values())]
    lines += ["", f"Extractors compared, on the {len(common)} problems available for all of them.", ""]
    lines.append("| rule: mean regret / rank correlation | " + " | ".join(by_extractor) + " |")
    lines.append("|---|" + "--:|" * len(by_extractor))
    alike = {name: [one for one in found if one.name in common] for name, found in by_extractor.items()}
    tables = {name: {row["rule"]: row for row in regret_table(found)} for name, found in alike.items()}
    for rule in tables[EXTRACTORS[0]]:
        cells = [f"{t[rule]['mean_regret']:.1f} / {_or_dash(t[rule]['spearman'])}" for t in tables.values()]
        lines.append(f"| `{rule}` | {' | '.join(cells)} |")
    best = next(row for row in table if row["rule"] != RANDOM)
    lines += [
        "",
        f"Picks of `{best['rule']}` in each draw of advice; gains over raw in points of accuracy.",
        "",
        "| problem | draw | pick | align | regret | gain | expected | rank correlation | share of time |",
        "|---|--:|---|---|--:|--:|--:|--:|--:|",
    ]
    for name in names:
        for draw, one in enumerate(one for one in best["problems"] if one["problem"] == name):
            lines.append(
                f"| {name} | {draw} | `{one['codec']}` | {one['align']} | {one['regret']:.1f} | {one['gain']:+.1f} | "
                f"{one['expected_gain']:+.1f} | {_or_dash(one['spearman'])} | {100 * one['time_share']:.1f} % |"
            )
    return "\n".join(lines) + "\n"


def reach_as_table(problems: list[Problem]) -> str:
    """A Markdown table of the best achievable correlation and regret, given seed noise."""
    lines = [
        "",
        "| problem | choices | lowest | highest | standard error of a choice | of an unaligned lossy choice "
        "| achievable correlation | achievable regret |",
        "|---|--:|--:|--:|--:|--:|--:|--:|",
    ]
    for row in reach_table(problems):
        shares = [row[name] for name in ("lowest", "highest", "standard_error", "standard_error_unaligned")]
        accuracies = [_or_dash(None if share is None else 100 * share, 1) for share in shares]
        reach = f"{row['correlation']:.2f} | {row['regret']:.1f}"
        lines.append(f"| {row['problem']} | {row['choices']} | {' | '.join(accuracies)} | {reach} |")
    return "\n".join(lines) + "\n"


def _or_dash(value: float | None, digits: int = 2) -> str:
    return "-" if value is None else f"{value:.{digits}f}"


def draw(found: list[Problem], path: Path) -> None:
    """Gain over raw predicted with the problem left out, against the measured gain; one panel per problem."""
    plt.rcParams["svg.hashsalt"] = "regret"
    firsts = list({problem.name: problem for problem in reversed(found)}.values())[::-1]
    figure, axes = plt.subplots(1, len(firsts), figsize=(3.2 * len(firsts), 3.2), squeeze=False)
    for place, problem in zip(axes.flat, firsts, strict=True):
        predicted = left_out_scores("predicted-gain", problem, found)
        for align, colour in (("both", "#0b6e4f"), ("train", "#3b6ea5"), ("none", "#c0562a")):
            chosen = np.array([one == align for one in problem.aligns])
            place.scatter(predicted[chosen], problem.gains[chosen], s=18, color=colour, label=align)
        low, high = min(predicted.min(), problem.gains.min()), max(predicted.max(), problem.gains.max())
        place.plot([low, high], [low, high], color="#999999", linestyle=":", zorder=0)
        place.set_title(problem.name, fontsize=7)
        place.set_xlabel("predicted gain over raw, points", fontsize=8)
    axes[0, 0].set_ylabel("measured", fontsize=8)
    axes[0, 0].legend(fontsize=7, title="align", title_fontsize=7)
    figure.tight_layout()
    figure.savefig(path, metadata={"Date": None})
    plt.close(figure)


if __name__ == "__main__":
    main()
