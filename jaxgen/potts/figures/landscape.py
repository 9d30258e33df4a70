"""The energy landscape of a model in two dimensions: training images, samples and chains, with energies and basins.

    PCA:    z = V^T (x - mean), V the two directions along which training images vary most
    t-SNE:  van der Maaten and Hinton (2008), of all images together, from their 50 first principal components

Neither map shows energy barriers: a high barrier may lie between close points. The basin of an image is its class, or,
without labels, its nearest prototype.
"""

import dataclasses
from pathlib import Path

import numpy as np
from jaxtyping import Float, Int, UInt8
from matplotlib.figure import Figure
from matplotlib.offsetbox import AnnotationBbox, OffsetImage

from jaxgen import data, visualization

_KINDS = {"training images": ("o", 9), "samples": ("x", 16)}
_TSNE_COMPONENTS = 50


@dataclasses.dataclass(frozen=True, eq=False)
class Landscape:
    """Images with their energies, basins and positions on two maps.

    Attributes:
        x: all images: n training images, m samples, then chains x steps of trajectories, chain by chain.
        energy: energy of each image.
        basin: basin of each image, a number 0 .. B-1.
        names: names of the basins.
        sizes: (n, m).
        steps: sweeps at which the states of the trajectories were recorded.
        pca: position of each image on the map of principal components.
        tsne: position of each image on the t-SNE map.
    """

    x: UInt8[np.ndarray, "N H W"]
    energy: Float[np.ndarray, "N"]
    basin: Int[np.ndarray, "N"]
    names: list[str]
    sizes: tuple[int, int]
    steps: list[int]
    pca: Float[np.ndarray, "N 2"]
    tsne: Float[np.ndarray, "N 2"]

    def part(self, name: str) -> slice:
        """Return the slice of the arrays that holds the training images or the samples."""
        n, m = self.sizes
        return {"training images": slice(0, n), "samples": slice(n, n + m)}[name]

    def trajectories(self, points: Float[np.ndarray, "N 2"]) -> Float[np.ndarray, "chains steps 2"]:
        """Return the points of every chain in the order of time."""
        return points[sum(self.sizes) :].reshape(-1, len(self.steps), 2)


def embed_images(
    x: UInt8[np.ndarray, "N H W"], n: int, seed: int
) -> tuple[Float[np.ndarray, "N 2"], Float[np.ndarray, "N 2"]]:
    """Return the two principal components, fitted to the first n images, and the t-SNE map of all images."""
    from sklearn.decomposition import PCA  # importing it takes half a second
    from sklearn.manifold import TSNE

    flat = np.asarray(x, np.float32).reshape(len(x), -1)
    components = min(_TSNE_COMPONENTS, n, flat.shape[1])
    pca = PCA(components, random_state=seed).fit(flat[:n]).transform(flat)
    perplexity = min(30.0, (len(x) - 1) / 3)
    tsne = TSNE(2, perplexity=perplexity, init="pca", random_state=seed).fit_transform(pca)
    return pca[:, :2], tsne


def prototypes(x: UInt8[np.ndarray, "n H W"], k: int, seed: int) -> Float[np.ndarray, "k H W"]:
    """Return the k means of the images (Lloyd 1982, initialised by k-means++), the most frequent first."""
    from sklearn.cluster import KMeans

    flat = np.asarray(x, np.float32).reshape(len(x), -1)
    clusters = KMeans(k, n_init=3, random_state=seed).fit(flat)
    order = np.argsort(-np.bincount(clusters.labels_, minlength=k), kind="stable")
    return clusters.cluster_centers_[order].reshape(k, *x.shape[1:])


def nearest(
    x: UInt8[np.ndarray, "N H W"], targets: Float[np.ndarray, "M H W"] | UInt8[np.ndarray, "M H W"]
) -> Int[np.ndarray, "N"]:
    """Return for every image the index of the target at the smallest Euclidean distance."""
    a = np.asarray(x, np.float32).reshape(len(x), -1)
    b = np.asarray(targets, np.float32).reshape(len(targets), -1)
    return ((b**2).sum(1) - 2 * a @ b.T).argmin(1)


def landscape_figure(path: str | Path, landscape: Landscape, levels: int, title: str) -> None:
    """Draw energies and basins on both maps, the distribution of energies, and images of low and high energy."""
    figure = Figure(figsize=(15, 9), dpi=90, layout="constrained")
    axes = figure.subplots(2, 3)
    maps = {"PCA": landscape.pca, "t-SNE": landscape.tsne}
    here = np.concatenate([landscape.energy[landscape.part(kind)] for kind in _KINDS])
    limits = np.quantile(here, (0.01, 0.99))
    for axis, (name, points) in zip(axes[:, 0], maps.items(), strict=True):
        for kind, (marker, size) in _KINDS.items():
            part = landscape.part(kind)
            colours = {"c": landscape.energy[part], "cmap": "viridis", "vmin": limits[0], "vmax": limits[1]}
            drawn = axis.scatter(*points[part].T, marker=marker, s=size, linewidths=0.8, label=kind, **colours)
        for number, chain in enumerate(landscape.trajectories(points)):
            axis.plot(*chain.T, color="C3", linewidth=0.9, label=None if number else "chains")
            axis.plot(*chain[0], "s", color="C3", markersize=5, label=None if number else "their start: noise")
            end = {"color": "C3", "markersize": 11, "markeredgecolor": "black", "linestyle": "none"}
            axis.plot(*chain[-1], "*", label=None if number else "their end", **end)
        axis.set_title(f"energy, {name}", fontsize=10)
    axes[0, 0].legend(fontsize=8)
    figure.colorbar(drawn, ax=axes[:, 0], label="E(x), nats at beta = 1", shrink=0.6, location="left")
    for axis, (name, points) in zip(axes[:, 1], maps.items(), strict=True):
        _draw_basins(axis, landscape, points, levels)
        axis.set_title(f"class or nearest prototype, {name}; pictures: their means", fontsize=9)
    for axis in axes[:, :2].ravel():
        axis.set_xticks([])
        axis.set_yticks([])
    _draw_energies(axes[0, 2], landscape)
    _draw_extremes(axes[1, 2], landscape, levels)
    figure.suptitle(title, fontsize=12)
    visualization.save_figure(path, figure)


def _draw_basins(axis, landscape: Landscape, points, levels: int) -> None:
    for number, name in enumerate(landscape.names):
        for kind, (marker, size) in _KINDS.items():
            part = landscape.part(kind)
            own = points[part][landscape.basin[part] == number]
            label = name if kind == "training images" else None
            axis.scatter(*own.T, marker=marker, s=size, linewidths=0.8, color=f"C{number}", label=label)
        train = landscape.part("training images")
        own = landscape.basin[train] == number
        if own.any():
            grey = 1 - landscape.x[train][own].mean(0) / (levels - 1)
            picture = OffsetImage(grey, zoom=1.1, cmap="gray")
            picture.image.set_clim(0, 1)
            frame = {"edgecolor": f"C{number}", "linewidth": 2}
            axis.add_artist(AnnotationBbox(picture, np.median(points[train][own], 0), pad=0.1, bboxprops=frame))
    axis.legend(fontsize=7, loc="best", markerscale=1.5)


def _draw_energies(axis, landscape: Landscape) -> None:
    ends = landscape.energy[sum(landscape.sizes) :].reshape(-1, len(landscape.steps))
    parts = {kind: landscape.energy[landscape.part(kind)] for kind in _KINDS}
    bins = np.linspace(min(map(np.min, parts.values())), max(map(np.max, parts.values())), 50)
    for kind, values in parts.items():
        axis.hist(values, bins, alpha=0.6, density=True, label=kind)
    for number, value in enumerate(ends[:, -1]):
        axis.axvline(value, color="C3", linewidth=0.8, label=None if number else "ends of the chains")
    axis.set_title(f"energies; noise: {ends[:, 0].mean():.0f} on average", fontsize=10)
    axis.set_xlabel("E(x)", fontsize=9)
    axis.legend(fontsize=8)


def _draw_extremes(axis, landscape: Landscape, levels: int) -> None:
    """Draw rows of images: training images and samples of the lowest and of the highest energy."""
    rows, names = [], []
    for kind in _KINDS:
        part = landscape.part(kind)
        order = np.argsort(landscape.energy[part])
        for ends, name in ((order[:8], "least"), (order[-8:], "most")):
            rows.append(data.decode(landscape.x[part][ends], levels))
            names.append(f"{kind}\n{name} energy")
    axis.imshow(visualization.image_grid(np.concatenate(rows), columns=8), cmap="gray", vmin=0, vmax=255)
    side = landscape.x.shape[1] + 1
    axis.set_yticks([side * (row + 0.5) for row in range(len(rows))], names, fontsize=8)
    axis.set_xticks([])
