//! Collector of the fp32 network: a histogram and the channel means of each observed edge, per picture.
//!
//! Padding is not counted. A feature map is divided into a fixed number of bands, independent of the number of threads:
//! the channel means are sums of floats, and their order must not change. Counts are integers.

use rayon::prelude::*;

use crate::calibrate::histogram::{Histogram, HistogramBuilder};
use crate::calibrate::record::RecordEdge;
use crate::detector::fp32::{Fp32Model, Fp32Run};
use crate::detector::plan::{Plan, StepId};
use crate::detector::tap::{Activation, Tap, TapRequest, Values};
use crate::error::Result;
use crate::tensor::Canvas;

/// Bands of a feature map.
const BANDS: usize = 8;

/// Statistics of one picture.
#[derive(Debug, Clone)]
pub struct PictureStatistics {
    /// One histogram an edge, in the order of the edges.
    pub histograms: Vec<Histogram>,
    /// Channel means, edge after edge.
    pub means: Vec<f32>,
}

/// Collects the outputs of some steps. Keeps its tables between pictures.
#[derive(Debug)]
pub struct Fp32Collector {
    /// By step: index of the edge.
    edge_of: Vec<Option<usize>>,
    edges: Vec<RecordEdge>,
    bands: Vec<HistogramBuilder>,
    counted: Vec<Option<(Histogram, Vec<f32>)>>,
    error: Option<crate::error::Error>,
}

impl Fp32Collector {
    /// A collector of the outputs of `steps`.
    pub fn new(plan: &Plan, steps: &[StepId]) -> Self {
        let shapes = plan.shapes(64, 64, 1);
        let mut edge_of = vec![None; plan.steps.len()];
        for (edge, &step) in steps.iter().enumerate() {
            edge_of[step] = Some(edge);
        }
        let entry =
            |&step: &StepId| RecordEdge { name: plan.steps[step].name.clone(), channels: shapes[step].channels };
        Self {
            edge_of,
            edges: steps.iter().map(entry).collect(),
            bands: (0..BANDS).map(|_| HistogramBuilder::new()).collect(),
            counted: vec![None; steps.len()],
            error: None,
        }
    }

    /// The edges in order.
    pub fn edges(&self) -> &[RecordEdge] {
        &self.edges
    }

    /// Channel means of a picture with these `statistics`, by step of the plan; empty where nothing was counted.
    pub fn means_by_step(&self, statistics: &PictureStatistics) -> Vec<Vec<f32>> {
        let mut rest = statistics.means.as_slice();
        let mut of_edge = Vec::with_capacity(self.edges.len());
        for (edge, histogram) in self.edges.iter().zip(&statistics.histograms) {
            let (means, others) = rest.split_at(edge.channels);
            of_edge.push(if histogram.is_empty() { Vec::new() } else { means.to_vec() });
            rest = others;
        }
        self.edge_of
            .iter()
            .map(|edge| edge.map(|edge| std::mem::take(&mut of_edge[edge])).unwrap_or_default())
            .collect()
    }

    /// Runs the reference on `canvas`, on the current rayon pool, and returns the statistics.
    ///
    /// # Errors
    /// [`Kind::Data`](crate::error::Kind::Data) if an activation is not finite; what the executor returns.
    pub fn observe(&mut self, reference: &Fp32Model, canvas: &Canvas<f32>) -> Result<PictureStatistics> {
        self.counted.fill(None);
        Fp32Run::new(reference, canvas)?.finish(self)?;
        self.take()
    }

    /// Statistics of a picture that was run with this collector as tap. The collector is empty afterwards.
    ///
    /// # Errors
    /// [`Kind::Data`](crate::error::Kind::Data) if an activation was not finite.
    pub fn take(&mut self) -> Result<PictureStatistics> {
        if let Some(error) = self.error.take() {
            return Err(error);
        }
        let mut statistics =
            PictureStatistics { histograms: Vec::with_capacity(self.counted.len()), means: Vec::new() };
        for (counted, edge) in self.counted.iter_mut().zip(&self.edges) {
            // Without proposals the second stage does not run.
            let (histogram, means) = counted.take().unwrap_or_else(|| (Histogram::new(), vec![0.0; edge.channels]));
            statistics.histograms.push(histogram);
            statistics.means.extend(means);
        }
        Ok(statistics)
    }
}

impl Tap for Fp32Collector {
    fn request(&self, step: StepId) -> TapRequest {
        if self.edge_of[step].is_some() { TapRequest::Output } else { TapRequest::Nothing }
    }

    fn observe(&mut self, step: StepId, activation: &Activation<'_>) {
        let (Some(edge), Values::F32(values)) = (self.edge_of[step], activation.values) else { return };
        let channels = activation.shape.channels;
        let (stride, valid) = (activation.shape.width * channels, activation.valid_width * channels);
        let rows = activation.valid_height;
        let per_band = rows.div_ceil(BANDS).max(1);
        let bands = self.bands.par_iter_mut().enumerate().map(|(band, builder)| {
            let mut sums = vec![0.0f64; channels];
            for row in (band * per_band..rows).take(per_band) {
                let values = &values[row * stride..][..valid];
                builder.observe(values)?;
                for pixel in values.chunks_exact(channels) {
                    for (sum, &value) in sums.iter_mut().zip(pixel) {
                        *sum += f64::from(value);
                    }
                }
            }
            Ok((builder.take(), sums))
        });
        let bands: Vec<Result<(Histogram, Vec<f64>)>> = bands.collect();
        let mut merged = Histogram::new();
        let mut sums = vec![0.0f64; channels];
        for band in bands {
            match band {
                Ok((histogram, partial)) => {
                    merged.merge(&histogram);
                    sums.iter_mut().zip(partial).for_each(|(sum, part)| *sum += part);
                }
                Err(error) => self.error = Some(error.at(&self.edges[edge].name)),
            }
        }
        let count = (rows * activation.valid_width).max(1) as f64;
        self.counted[edge] = Some((merged, sums.iter().map(|&sum| (sum / count) as f32).collect()));
    }
}
