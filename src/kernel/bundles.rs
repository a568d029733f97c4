//! Groups of a convolution taken together, and the channels of each panel of packed weights.
//!
//! In: a convolution's shape and the columns of a panel. Out: the number of groups that are convolved as one. For every
//! panel: the input channels that it reads and the output channels that it computes.

use std::borrow::Cow;
use std::cmp::Reverse;

use super::geometry::ConvGeometry;

/// Groups of a convolution, taken together so that few columns of their panels are empty. A bundle is convolved as one
/// group; weights from the inputs of one of its groups to the outputs of another are 0.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Bundles {
    /// Bundles.
    pub count: usize,
    /// Groups of a bundle.
    pub groups: usize,
    /// Input channels of a bundle.
    pub channels: usize,
    /// Output channels of a bundle.
    pub outputs: usize,
}

/// Input and output channels of a panel.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Place {
    /// First input channel of its bundle.
    pub offset: usize,
    /// First output channel.
    pub column: usize,
    /// Columns that exist; the others have weight 0.
    pub filled: usize,
}

impl Bundles {
    /// The bundles of `geometry` with the fewest multiplications, for panels of `columns`.
    pub fn of(geometry: &ConvGeometry, columns: usize) -> Self {
        // More groups than fill a panel only add zeros. Of equals the largest: its tiles are whole, its sums long.
        (1..=geometry.groups.min(columns))
            .filter(|groups| geometry.groups.is_multiple_of(*groups))
            .map(|groups| Self::with(geometry, groups))
            .min_by_key(|bundles| {
                (bundles.count * bundles.outputs.div_ceil(columns) * bundles.channels, Reverse(bundles.groups))
            })
            .unwrap_or(Self::single(geometry))
    }

    /// Every group on its own.
    pub fn single(geometry: &ConvGeometry) -> Self {
        Self::with(geometry, 1)
    }

    fn with(geometry: &ConvGeometry, groups: usize) -> Self {
        Self {
            count: geometry.groups / groups,
            groups,
            channels: groups * geometry.group_channels(),
            outputs: groups * (geometry.out_channels / geometry.groups),
        }
    }

    /// `weights` (`[out][tap][in / groups]`) as `[out][tap][channel of the bundle]`.
    pub fn spread<'a, T: Copy + Default>(&self, taps: usize, weights: &'a [T]) -> Cow<'a, [T]> {
        if self.groups == 1 {
            return Cow::Borrowed(weights);
        }
        let (channels, outputs) = (self.channels / self.groups, self.outputs / self.groups);
        let mut spread = vec![T::default(); weights.len() * self.groups];
        for (row, values) in weights.chunks_exact(channels).enumerate() {
            let group = row / taps / outputs % self.groups;
            spread[row * self.channels + group * channels..][..channels].copy_from_slice(values);
        }
        Cow::Owned(spread)
    }

    /// The panels of `columns`, in the order of the outputs.
    pub fn places(&self, columns: usize) -> Vec<Place> {
        let of_bundle = |bundle: usize| {
            (0..self.outputs).step_by(columns).map(move |column| Place {
                offset: bundle * self.channels,
                column: bundle * self.outputs + column,
                filled: columns.min(self.outputs - column),
            })
        };
        (0..self.count).flat_map(of_bundle).collect()
    }
}

impl Place {
    /// The panels of a depthwise convolution of so many channels: each reads the channels that it computes.
    pub fn of_channels(channels: usize, columns: usize) -> Vec<Self> {
        let first = (0..channels).step_by(columns);
        first.map(|first| Self { offset: first, column: first, filled: columns.min(channels - first) }).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bundles_fill_panels_with_few_zeros() {
        let bundles = |groups, in_channels, out_channels| {
            let geometry = ConvGeometry { groups, ..ConvGeometry::linear(in_channels, out_channels) };
            let of = Bundles::of(&geometry, 16);
            (of.count, of.groups, of.channels, of.outputs)
        };
        assert_eq!(bundles(1, 40, 24), (1, 1, 40, 24));
        assert_eq!(bundles(32, 128, 128), (8, 4, 16, 16));
        assert_eq!(bundles(32, 1024, 1024), (32, 1, 32, 32));
        assert_eq!(bundles(6, 6, 12), (1, 6, 6, 12));
        assert_eq!(bundles(3, 6, 24), (3, 1, 2, 8));
        let spread =
            Bundles { count: 1, groups: 2, channels: 4, outputs: 2 }.spread(2, &[1., 2., 3., 4., 5., 6., 7., 8.]);
        assert_eq!(*spread, [1., 2., 0., 0., 3., 4., 0., 0., 0., 0., 5., 6., 0., 0., 7., 8.]);
    }

    #[test]
    fn panels_name_their_channels() {
        let of = |places: Vec<Place>| -> Vec<_> {
            places.iter().map(|place| (place.offset, place.column, place.filled)).collect()
        };
        let bundles = Bundles { count: 2, groups: 1, channels: 3, outputs: 17 };
        assert_eq!(of(bundles.places(16)), [(0, 0, 16), (0, 16, 1), (3, 17, 16), (3, 33, 1)]);
        assert_eq!(of(Place::of_channels(24, 16)), [(0, 0, 16), (16, 16, 8)]);
    }
}
