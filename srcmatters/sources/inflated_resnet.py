"""The inflated ResNet-152 of Merlin and Astra, which sees volumes in its own order of axes."""

from __future__ import annotations

import torch
from monai.networks.nets import ResNet

from srcmatters.errors import InputError


class InflatedResNet152(ResNet):
    """A ResNet-152 of images inflated for volumes, as Merlin's image encoder has it.

    The kernels of the stem are 3 slices deep and move by one slice, (3, 7, 7) at stride (1, 2, 2); the
    pooling after it and the first 3 x 3 x 3 convolution of the last three stages halve the depth as well. The
    network was trained on volumes in RAS order with the axes [Z, X, Y]: it turns the images of this package
    (rows to posterior, columns to the left, slices to superior) by itself, so that a checkpoint needs no word
    about it.

    Args:
        spatial_dims: 3.
        in_channels: channels of the input; 3 in the published weights, the grey value three times.
        num_classes: size of the output.

    Shape:
        image: (B, in_channels, H, W, D); the result is (B, num_classes), logits.

    Raises:
        InputError: another number of dimensions.

    Source: Blankemeier et al. 2024, "Merlin" (arXiv 2406.06512); inflation: Carreira and Zisserman 2017.
    """

    #: Bottlenecks and channels of each of the four stages.
    repeats: tuple[int, ...] = (3, 8, 36, 3)
    widths: tuple[int, ...] = (64, 128, 256, 512)

    def __init__(self, spatial_dims: int = 3, in_channels: int = 3, num_classes: int = 2) -> None:
        if spatial_dims != 3:
            raise InputError(
                f"spatial_dims: got {spatial_dims}, expected 3: i3resnet152 takes volumes, not images"
            )
        super().__init__(
            block="bottleneck",
            layers=list(self.repeats),
            block_inplanes=list(self.widths),
            spatial_dims=3,
            n_input_channels=in_channels,
            conv1_t_size=(3, 7, 7),  # type: ignore[arg-type]
            conv1_t_stride=(1, 2, 2),  # type: ignore[arg-type]
            num_classes=num_classes,
            bias_downsample=False,
        )

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        """Logits of a batch."""
        return super().forward(image.flip(2, 3).permute(0, 1, 4, 3, 2))

    @staticmethod
    def in_image_axes(activations: torch.Tensor) -> torch.Tensor:
        """Turn activations (B, C, Z, X, Y) of a stage back into (B, C, H, W, D)."""
        return activations.permute(0, 1, 4, 3, 2).flip(2, 3)
