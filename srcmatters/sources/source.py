"""A source: pre-trained weights and the input they expect, loaded so that nothing stays random unseen."""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import nn

from srcmatters.errors import InputError
from srcmatters.files import sha256_of
from srcmatters.sources.architecture import STANDARD, architecture_of, pooled
from srcmatters.sources.catalogue import find_entry, read_catalogue
from srcmatters.sources.checkpoint_layouts import network_of_run, unwrapped
from srcmatters.sources.classifier import Classifier, Origin, weights_digest
from srcmatters.sources.constructor import is_own
from srcmatters.sources.conversion import convert, guess_scheme, nearest_scheme
from srcmatters.sources.conversion_report import ConversionReport
from srcmatters.sources.entry import Entry
from srcmatters.sources.loading import Weights, load_strictly
from srcmatters.sources.network_facts import HEADS, check_network
from srcmatters.sources.networks import create_network
from srcmatters.sources.normalisation import Normalisation, read_normalisation
from srcmatters.sources.own_networks import own_classifier, own_classifier_of
from srcmatters.sources.schemes import ANY_TRAINING, STEMS, find_scheme
from srcmatters.sources.weight_files import read_weights


@dataclass(frozen=True)
class Source:
    """Weights and the input they expect.

    Args:
        name: what the study calls it.
        weights: tensors in our naming without the head, None for random initialisation.
        normalisation: of the input.
        report: where each tensor came from, None for random initialisation.
    """

    name: str
    weights: Weights | None
    normalisation: Normalisation
    report: ConversionReport | None = None

    @property
    def architecture(self) -> str:
        """What the network has to be built like."""
        return STANDARD if self.weights is None else architecture_of(self.weights)


def load_source(source: str | Path, network: str, spatial_dims: int = 2, inflation: str = "centre") -> Source:
    """Find a source by name or file and convert its weights.

    Args:
        source: "random"; a source of the catalogue, which is fetched if it is not here; a source file made
            here, by name or path; the model.pt of a run of ours, with the input that it was trained with; or
            somebody's weight file, if its tensors tell which naming scheme it
            follows and the catalogue knows what files of that scheme expect: in torchvision's naming it is
            taken to expect RGB in [0, 1] with ImageNet's mean and standard deviation.
        network: name of the network that will take the weights.
        spatial_dims: 2 or 3, of that network.
        inflation: how weights for images become weights for volumes, "centre" or "mean".

    Raises:
        InputError: no such source or file, a file that is not a state dict of this network's tensors, one
            that could be several things, or a catalogue entry that contradicts its file.
    """
    check_network(network)
    entry = find_entry(source, network)
    if entry is None:
        return _from_file(Path(source), network, spatial_dims, inflation)
    if entry.location is None:
        return Source(entry.source, None, read_normalisation(entry.normalisation, entry.name))
    return convert_entry(entry, _fetched(entry), str(source), spatial_dims, inflation)


def convert_entry(
    entry: Entry, weights: Weights, source: str, spatial_dims: int = 2, inflation: str = "centre"
) -> Source:
    """The source that a catalogue entry and the tensors of its file make.

    Args:
        entry: of the catalogue or of a source file.
        weights: as the file holds them.
        source: what the user called it.
        spatial_dims: 2 or 3, of the network.
        inflation: see :func:`load_source`.

    Raises:
        InputError: the tensors are not those of the entry's network, or a field of the entry (named)
            contradicts its scheme or its file.
    """
    normalisation = read_normalisation(entry.normalisation, entry.name)
    rules = find_scheme(entry.scheme, entry.network)
    _agree(entry.name, "channels", entry.channels, normalisation.channels, "its normalisation")
    if normalisation.channel_order not in rules.orders:
        raise InputError(
            f"{entry.name}: normalisation.channel_order: got {normalisation.channel_order},"
            f" expected {' or '.join(rules.orders)} of files in the scheme {entry.scheme}"
        )
    if rules.spatial_dims is not None:
        _agree(entry.name, "spatial_dims", entry.spatial_dims, rules.spatial_dims, f"scheme {entry.scheme}")
    origin = f"source {source} into {entry.network}"
    converted, report = convert(weights, entry.scheme, entry.network, spatial_dims, inflation, origin)
    _agree(entry.name, "channels", entry.channels, report.channels, "the first kernel of its file")
    return Source(entry.name, converted, normalisation, report)


def _agree(name: str, field: str, got: int, expected: int, why: str) -> None:
    if got != expected:
        raise InputError(f"{name}: {field}: got {got}, expected {expected} by {why}")


def _fetched(entry: Entry) -> Weights:
    # It brings requests, which a command that fetches nothing need not pay for.
    from srcmatters.sources.fetching import fetch

    return read_weights(fetch(entry))


def _from_file(path: Path, network: str, spatial_dims: int, inflation: str) -> Source:
    """Somebody's weights, of which nothing is known but the file."""
    weights = unwrapped(read_weights(path))
    origin = f"source {path} into {network}"
    own = network_of_run(weights)
    if own is not None:
        converted, report = convert(own[0], "monai", network, spatial_dims, inflation, origin)
        return Source(path.stem, converted, read_normalisation(own[1], origin), report)
    fitting = [scheme for _, scheme, _ in guess_scheme(weights, network)]
    schemes = [scheme for scheme in fitting if scheme != "monai"]
    if not fitting:
        # Nearly always it is one tensor or the wrong network: the conversion says which.
        convert(weights, nearest_scheme(weights, network), network, spatial_dims, inflation, origin)
    if len(schemes) != 1:
        could = f"could be of {' or '.join(schemes)}" if schemes else "says nothing of the input it expects"
        raise InputError(f"{origin}: the file {could}, expected a source file: `srcmatters sources convert`")
    normalisation = _known_normalisation(schemes[0], origin)
    if schemes[0] in ANY_TRAINING and sha256_of(path) not in {entry.sha256 for entry in read_catalogue()}:
        warnings.warn(
            f"source {path}: taken to expect ImageNet's mean and standard deviation in RGB, which the file"
            " does not say; if it was trained with another input, declare it: `srcmatters sources convert`",
            stacklevel=2,
        )
    converted, report = convert(weights, schemes[0], network, spatial_dims, inflation, origin)
    return Source(path.stem, converted, normalisation, report)


def _known_normalisation(scheme: str, origin: str) -> Normalisation:
    """What all files of a scheme in the catalogue expect."""
    entries = [entry for entry in read_catalogue() if entry.scheme == scheme]
    known = {entry.source: read_normalisation(entry.normalisation, entry.name) for entry in entries}
    if len(set(known.values())) != 1:
        raise InputError(
            f"{origin}: files in the scheme {scheme} do not all expect the same input;"
            f" expected the name of one of these sources: {', '.join(known)}"
        )
    return next(iter(known.values()))


def create_classifier(
    network: str,
    source: str | Path = "random",
    spatial_dims: int = 2,
    num_classes: int = 2,
    dropout: float = 0.2,
    seed: int = 0,
    inflation: str = "centre",
    pooling: str | None = None,
) -> Classifier:
    """A network from a source, with the source's input normalisation as its first layer.

    Args:
        network: see :func:`srcmatters.sources.create_network`; or what builds a network of one's own, see
            :func:`srcmatters.sources.constructor.read_constructor`.
        source: see :func:`load_source`; of a network of one's own "random" or "constructor".
        spatial_dims: 2 or 3.
        num_classes: size of the output.
        dropout: dropout rate before the classifier.
        seed: seed of everything that is initialised randomly, the head included.
        inflation: how weights for images become weights for volumes, "centre" or "mean".
        pooling: of a transformer, "cls" or "mean"; None: the source's own, of published ones "cls".

    Shape:
        image: (B, 1 or 3, H, W[, D]) in [0, 1], (B, 1, ...) for sources of grey images; the result is
        (B, num_classes), logits.

    Raises:
        InputError: the weights are not those of this network; the message names the tensors.
    """
    if is_own(network):
        if pooling is not None:
            raise InputError(f"pooling: got {pooling!r}, expected none: a network of one's own pools itself")
        return own_classifier(network, str(source), spatial_dims, num_classes, dropout, seed)
    loaded = load_source(source, network, spatial_dims, inflation)
    weights, architecture = loaded.weights, loaded.architecture
    if pooling is not None:
        moved, architecture = pooled(weights or {}, network, pooling)
        weights = None if weights is None else moved
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        backbone = create_network(
            network, spatial_dims, loaded.normalisation.channels, num_classes, dropout, architecture
        )
    if weights is not None:
        load_strictly(backbone, weights, HEADS[network], origin=f"source {source} into {network}")
    classifier = Classifier(loaded.normalisation.layer(spatial_dims), backbone)
    classifier.origin = Origin(str(source), network, dropout, weights_digest(classifier))
    return classifier


def classifier_of(
    weights: Weights, network: str, dropout: float = 0.2, origin: str = "checkpoint"
) -> nn.Sequential:
    """The classifier that a checkpoint was made of, whatever its source: its tensors tell.

    Number of classes and channels, dimensions, architecture and input normalisation are those of the weights,
    so that a run from any source can be scored without the source's file.

    Args:
        weights: state dict of what :func:`create_classifier` returned.
        network: as it was trained.
        dropout: dropout rate before the classifier, for further training.
        origin: the file, for error messages.

    Raises:
        InputError: the weights are those of another network; the message names the tensors.
    """
    if is_own(network):
        return own_classifier_of(weights, network, dropout, origin)
    check_network(network)
    stem = weights.get(f"1.{STEMS[network]}")
    head = weights.get(f"1.{HEADS[network]}weight")
    if stem is None or head is None or stem.ndim not in (4, 5):
        lacking = f"1.{HEADS[network]}weight" if head is None else f"1.{STEMS[network]}"
        raise InputError(f"{origin}: no classifier with {network}: {lacking} missing from the file")
    spatial_dims, channels = stem.ndim - 2, int(stem.shape[1])
    order = "RGB" if channels == 3 else "grey"
    if "0.mean" in weights:
        normalisation = Normalisation("fixed", order, (0.0,) * channels, (1.0,) * channels)
    else:
        normalisation = Normalisation("zscore_positive", order)
    architecture = architecture_of(weights)
    backbone = create_network(network, spatial_dims, channels, head.shape[0], dropout, architecture)
    classifier = nn.Sequential(normalisation.layer(spatial_dims), backbone)
    load_strictly(classifier, weights, head=None, origin=origin)
    return classifier
