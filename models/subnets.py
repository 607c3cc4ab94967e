"""Parallel subnets beside a stage (SP-NAS, section 3.2).

With s the serial stage, x its input and p_k the subnets, all of one structure:

    x^0 = s(x),    x^k = p_k(x + up_k(x^{k-1})),    and the stage gives x^K.

Invariant: `up` starts at zero, so a subnet that copies its stage leaves the stage's output exactly unchanged.
"""

from torch import Tensor, nn
from torch.nn import functional

from models.architecture import BlockShape
from models.blocks import make_block


class Subnet(nn.Module):
    """One subnet p_k of a stage, with the `up` that feeds it."""

    def __init__(self, block_type: str, shapes: tuple[BlockShape, ...], normalization: str = "batch") -> None:
        """Build a copy of the stage's structure, and `up` at zero."""
        super().__init__()
        self.up = nn.Conv2d(shapes[-1].out_channels, shapes[0].in_channels, kernel_size=1)
        for parameter in self.up.parameters():
            nn.init.zeros_(parameter)
        self.blocks = nn.Sequential(*(make_block(block_type, shape, normalization) for shape in shapes))

    def forward(self, x: Tensor, previous: Tensor) -> Tensor:
        """Refine the stage's output.

        Args:
            x: the stage's input, [B, in, H, W].
            previous: x^{k-1}, [B, out, h, w].

        Returns:
            x^k, [B, out, h, w].
        """
        # the convolution comes first: it costs a quarter at the low resolution
        feedback = functional.interpolate(self.up(previous), size=x.shape[-2:], mode="nearest")
        out: Tensor = self.blocks(x + feedback)
        return out
