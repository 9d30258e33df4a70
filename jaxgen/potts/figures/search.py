"""Figures of a search, drawn by Optuna: scores by trial, by step and by setting, and the importance of settings."""

import warnings
from pathlib import Path
from typing import Any


def search_figures(folder: Path, study: Any, criterion: str) -> list[Path]:
    """Write history.png, rungs.png, settings.png and, for two or more complete trials, importances.png.

    Args:
        folder: folder to write to.
        study: an Optuna study with at least one complete trial.
        criterion: what the score is.

    Returns:
        The paths of the figures.
    """
    import matplotlib.pyplot as plt
    import optuna
    from optuna.visualization import matplotlib as plots

    score = f"log {criterion.replace('_', '-')}, validation (nats)"
    draw = {
        "history": ("Score by trial", lambda: plots.plot_optimization_history(study, target_name=score)),
        "rungs": ("Score at the rungs and at the end", lambda: plots.plot_intermediate_values(study)),
        "settings": ("Settings and scores of complete trials",
                     lambda: plots.plot_parallel_coordinate(study, target_name=score)),
    }  # fmt: skip
    complete = study.get_trials(states=(optuna.trial.TrialState.COMPLETE,))
    if len(complete) > 1:
        draw["importances"] = (
            f"Importance of settings for the {score}",
            lambda: plots.plot_param_importances(study, target_name=score),
        )
    written = []
    # Optuna calls these plots experimental, and changes the style of all figures.
    with warnings.catch_warnings(), plt.rc_context():
        warnings.simplefilter("ignore")
        for name, (title, plot) in draw.items():
            axes = plot()
            axes.set_title("", loc="left")  # where Optuna writes some of its titles
            axes.set_title(title)
            if name == "rungs":
                axes.set(xlabel="updates", ylabel=score)
                if axes.get_legend() is not None:  # one entry per trial
                    axes.get_legend().remove()
            axes.figure.set_size_inches(11, 5)
            written.append(folder / f"{name}.png")
            axes.figure.savefig(written[-1], dpi=110, bbox_inches="tight")
            plt.close(axes.figure)
    return written
