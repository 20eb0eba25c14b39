"""Tables and figures of the JPEG layer study, from the results written by ``jpeg_layer.py``."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.ticker import NullFormatter

Results = list[dict[str, Any]]


def draw_layer(results: Results, path: Path) -> None:
    """A table of the variants."""
    (result,) = results
    first = result["runs"][0]
    lines = [
        f"Mean over {len(result['runs'])} seeds +- 95 % interval, in percent of {first['test_images']} test images;"
        " clipped: percentage of luma coefficients.",
        "",
        "| network | accuracy | gain over plain | soft | hard | bits per pixel | clipped, initial | clipped, final |",
        "|---|--:|--:|--:|--:|--:|--:|--:|",
    ]
    measures = ("accuracy", "gain_over_plain", "soft_accuracy", "hard_accuracy", "bits_per_pixel")
    for name in result["config"]["variants"]:
        variant = result["variants"][name]
        cells = [_cell(variant, measure, 1 if measure == "bits_per_pixel" else 100) for measure in measures]
        for when in ("initial", "final"):
            known = [
                run["variants"][name]["clip_rate"][when]["luma"]
                for run in result["runs"]
                if "clip_rate" in run["variants"][name]
            ]
            cells.append(f"{100 * np.mean(known):.1f}" if known else "-")
        lines.append(f"| {name} | {' | '.join(cells)} |")
    _write(lines, path)


def draw_codec(results: Results, path: Path) -> None:
    """A table and a figure of accuracy against stored bytes."""
    points = [
        {
            "codec": result["config"]["codec"],
            "bytes": float(np.mean([run["test_image_bytes"] for run in result["runs"]])),
            "accuracy": 100 * result["variants"]["plain"]["mean"]["accuracy"],
            "half": 100 * (result["variants"]["plain"]["ci95"]["accuracy"] or 0),
        }
        for result in results
    ]
    lines = ["| codec | stored bytes per image | accuracy % +- 95 % |", "|---|--:|--:|"]
    lines += [f"| `{p['codec']}` | {p['bytes']:,.0f} | {p['accuracy']:.1f} +- {p['half']:.1f} |" for p in points]
    _write(lines, path)
    figure, axes = _figure(path)
    for family, colour in (("jpeg", "#1f5fa8"), ("learned-jpeg", "#c0562a")):
        chosen = sorted((p for p in points if p["codec"].split(":")[0] == family), key=lambda p: p["bytes"])
        x, y, half = ([p[key] for p in chosen] for key in ("bytes", "accuracy", "half"))
        axes.errorbar(x, y, yerr=half, fmt="o-", capsize=3, color=colour, label=family)
    raw = next(p for p in points if p["codec"] == "raw")
    axes.axhline(raw["accuracy"], color="#999999", linestyle=":", label="raw", zorder=0)
    axes.set_xscale("log")
    axes.set_xticks([200, 500, 1000, 2000], ["200", "500", "1,000", "2,000"])
    axes.xaxis.set_minor_formatter(NullFormatter())
    axes.set_xlabel("stored bytes per image, header shared")
    axes.set_ylabel("test accuracy in % (bars: 95 %)")
    _save(figure, path)


def draw_robustness(results: Results, path: Path) -> None:
    """A table and a figure of accuracy against the bound: thin lines for attacks, a thick one for the worst case."""
    eps = [255 * bound for bound in results[0]["eps"]]
    lines = [
        f"Mean over {len(results)} seeds, in percent of {results[0]['images']} test images.",
        "",
        f"| network | attack | none | {' | '.join(f'eps {bound:g}/255' for bound in eps)} |",
        "|---|---|--:|" + "--:|" * len(eps),
    ]
    figure, axes = _figure(path)
    for name, colour in (("plain", "#555555"), ("layered", "#c0562a")):
        models = [result["models"][name] for result in results]
        clean = 100 * float(np.mean([model["clean"] for model in models]))
        attacks = {attack: [model["attacks"][attack] for model in models] for attack in models[0]["attacks"]}
        attacks["worst case"] = [model["worst"] for model in models]
        for attack, accuracies in attacks.items():
            mean = 100 * np.mean(accuracies, axis=0)
            lines.append(f"| {name} | {attack} | {clean:.1f} | {' | '.join(f'{value:.1f}' for value in mean)} |")
            worst = attack == "worst case"
            style = {"linewidth": 3, "label": f"{name}, worst case"} if worst else {"linewidth": 0.8, "alpha": 0.6}
            axes.plot([0, *eps], [clean, *mean], color=colour, **style)
            if not worst:
                axes.annotate(attack, (eps[-1], mean[-1]), fontsize=7, color=colour, va="center")
    _write(lines, path)
    axes.set_xlabel("bound of the attack, L-infinity, in 1/255")
    axes.set_ylabel("accuracy in %")
    _save(figure, path)


def _figure(path: Path) -> tuple[plt.Figure, plt.Axes]:
    plt.rcParams["svg.hashsalt"] = path.stem
    figure, axes = plt.subplots(figsize=(7.5, 4))
    axes.grid(alpha=0.3)
    return figure, axes


def _save(figure: plt.Figure, path: Path) -> None:
    figure.axes[0].legend(fontsize=8)
    figure.tight_layout()
    figure.savefig(path.with_suffix(".svg"), metadata={"Date": None})
    plt.close(figure)


def _write(lines: list[str], path: Path) -> None:
    path.with_suffix(".md").write_text("\n".join(lines) + "\n")


def _cell(variant: dict[str, Any], measure: str, scale: float) -> str:
    if measure not in variant["mean"]:
        return "-"
    half = variant["ci95"][measure]
    return f"{scale * variant['mean'][measure]:.1f}" + ("" if half is None else f" +- {scale * half:.1f}")
