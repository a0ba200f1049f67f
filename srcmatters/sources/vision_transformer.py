"""Vision transformers of the DINOv2 family, through the transformers library."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn

from srcmatters.errors import InputError

#: ViT-B/14 as facebook/dinov2-base and microsoft/rad-dino have it: position embeddings of a 518 pixel image.
VIT_B14: dict[str, Any] = {
    "hidden_size": 768,
    "num_hidden_layers": 12,
    "num_attention_heads": 12,
    "mlp_ratio": 4,
    "image_size": 518,
    "patch_size": 14,
    "layerscale_value": 1.0,
}


class VisionTransformer(nn.Module):
    """A DINOv2 transformer with a linear head on its class token, or on the mean of its patches.

    The class token is the image's representation that DINOv2 is trained to make and that RAD-DINO's authors
    evaluate; the mean of the patch tokens (``pooling = "mean"``, see
    :func:`srcmatters.sources.architecture.rebuild`) is the other one that probes are put on. Position
    embeddings are resampled (bicubic) to the size of the image, as DINOv2 does.

    Args:
        in_channels: channels of the input.
        num_classes: size of the output.
        dropout: dropout rate before the classifier.
        config: fields of transformers' ``Dinov2Config``.

    Shape:
        image: (B, in_channels, H, W), H and W multiples of 14; the result is (B, num_classes), logits.

    Raises:
        InputError: transformers is not installed; an image of another size (when it is called).

    Source: Oquab et al. 2023, "DINOv2" (arXiv 2304.07193); Pérez-García et al. 2024, "RAD-DINO" (2401.10815).
    """

    def __init__(self, in_channels: int, num_classes: int, dropout: float, config: dict[str, Any]) -> None:
        super().__init__()
        try:
            from transformers import Dinov2Config, Dinov2Model
        except ImportError as error:
            raise InputError(
                "network: vit_b14 needs the library transformers;"
                " expected `pip install -c constraints.txt -e .[vit]`"
            ) from error
        # The mask token plays a part in pre-training alone.
        settings = Dinov2Config(**config, num_channels=in_channels, use_mask_token=False)
        self.patch_size = int(config["patch_size"])
        self.pooling = "cls"
        self.backbone = Dinov2Model(settings)
        self.dropout = nn.Dropout(dropout)
        self.head = nn.Linear(int(config["hidden_size"]), num_classes)
        nn.init.trunc_normal_(self.head.weight, std=settings.initializer_range)
        nn.init.zeros_(self.head.bias)

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        """Logits of a batch."""
        patch = self.patch_size
        height, width = image.shape[-2:]
        if height % patch or width % patch or not height or not width:
            low = max(min(height, width) // patch, 1) * patch
            raise InputError(
                f"image_size: got {height} x {width}, expected multiples of {patch} for a transformer of"
                f" {patch} pixel patches, such as {low} or {low + patch}"
            )
        tokens = self.backbone(pixel_values=image).last_hidden_state
        pooled = tokens[:, 0] if self.pooling == "cls" else tokens[:, 1:].mean(dim=1)
        return self.head(self.dropout(pooled))
