//! The shape of a convolution, shared by every data type and instruction set.

/// A 2-D convolution without dilation; a linear layer is 1×1 over its rows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct ConvGeometry {
    /// Channels in.
    pub in_channels: usize,
    /// Channels out.
    pub out_channels: usize,
    /// Rows of the filter.
    pub kernel_height: usize,
    /// Columns of the filter.
    pub kernel_width: usize,
    /// Step in both directions.
    pub stride: usize,
    /// Rows and columns added on every side.
    pub padding: usize,
    /// Groups of channels that are convolved on their own: in/groups inputs make out/groups outputs. 1 for a plain
    /// convolution, the number of channels for a depthwise one.
    pub groups: usize,
}

impl ConvGeometry {
    /// A fully connected layer: 1×1, stride 1, no padding.
    pub const fn linear(in_channels: usize, out_channels: usize) -> Self {
        Self { in_channels, out_channels, kernel_height: 1, kernel_width: 1, stride: 1, padding: 0, groups: 1 }
    }

    /// A convolution with a square filter of odd `size`, padded so that stride 1 keeps the size of a map; one group.
    pub const fn square(in_channels: usize, out_channels: usize, size: usize, stride: usize) -> Self {
        let (kernel_height, kernel_width, padding) = (size, size, size / 2);
        Self { in_channels, out_channels, kernel_height, kernel_width, stride, padding, groups: 1 }
    }

    /// Rows and columns out for `height` × `width` in, as PyTorch counts them; 0 where the filter does not fit.
    pub const fn output(&self, height: usize, width: usize) -> (usize, usize) {
        (
            Self::extent(height, self.kernel_height, self.stride, self.padding),
            Self::extent(width, self.kernel_width, self.stride, self.padding),
        )
    }

    const fn extent(size: usize, kernel: usize, stride: usize, padding: usize) -> usize {
        let padded = size + 2 * padding;
        if padded < kernel { 0 } else { (padded - kernel) / stride + 1 }
    }

    /// Taps of the filter: height × width.
    pub const fn taps(&self) -> usize {
        self.kernel_height * self.kernel_width
    }

    /// Input channels that one output reads: in / groups.
    pub const fn group_channels(&self) -> usize {
        self.in_channels / self.groups
    }

    /// True if every output channel reads one input channel, and every input channel makes one output channel.
    pub const fn is_depthwise(&self) -> bool {
        self.groups > 1 && self.groups == self.in_channels && self.groups == self.out_channels
    }

    /// Weights: out × height × width × in / groups.
    pub const fn weights(&self) -> usize {
        self.out_channels * self.taps() * self.group_channels()
    }

    /// Multiply-adds for `height` × `width` in.
    pub const fn macs(&self, height: usize, width: usize) -> u64 {
        let (rows, columns) = self.output(height, width);
        (rows * columns) as u64 * self.weights() as u64
    }
}

/// Row or column of a map of size `from` that PyTorch's `interpolate(mode="nearest", size=to)` reads for `place`. It is
/// the product in f32, clamped to the map.
pub fn nearest_source(place: usize, from: usize, to: usize) -> usize {
    if from == to {
        return place;
    }
    let scale = from as f32 / to as f32;
    ((place as f32 * scale) as usize).min(from - 1)
}
