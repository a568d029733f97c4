//! The artifact reader on bytes nobody vouches for: an error or a model, nothing else. What it accepts it must be able
//! to hand out whole.
#![no_main]

use libfuzzer_sys::fuzz_target;
use lookout::quant::artifact::{Artifact, StoredWeights};
use lookout::quant::first_unsafe_pair;

fuzz_target!(|file: &[u8]| {
    read(file);
    if let Some(sealed) = lookout_fuzz::resealed(file) {
        read(&sealed);
    }
});

fn read(file: &[u8]) {
    let Ok(artifact) = Artifact::parse(file) else { return };
    let header = artifact.header();
    for step in &header.steps {
        assert_eq!(artifact.biases(&step.name).unwrap().len(), step.runs);
        artifact.residual(&step.name).unwrap();
        artifact.reference_input_means(&step.name).unwrap();
        artifact.bias_shift_models(&step.name).unwrap();
        match artifact.weights(&step.name).unwrap() {
            StoredWeights::Int8 { values, low, scales } => {
                assert!(low.iter().all(|low| (-64..64).contains(low)));
                assert_eq!(values.len(), step.shape.iter().product::<usize>());
                assert_eq!(scales.len(), step.shape[0]);
                assert!(!header.pair_safe || first_unsafe_pair(&values, step.shape[3]).is_none());
            }
            StoredWeights::Float(values) => assert!(values.iter().all(|value| value.is_finite())),
        }
    }
    for edge in &header.edges {
        artifact.histogram(edge).unwrap();
    }
    artifact.first_layer_reference().unwrap();
}
