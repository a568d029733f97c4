//! SplitMix64 (Steele, Lea, Flood, 2014): seeded pseudorandom numbers that are the same on every CPU.
//!
//! In: a seed, or a seed with keys. Out: [`Random`], a stream of numbers. Not for secrets. The bootstrap of
//! [`evaluate`](crate::evaluate) has a Mersenne Twister of its own, because it reproduces the draws of NumPy.

/// The increment of the state: 2⁶⁴ divided by the golden ratio, odd.
const INCREMENT: u64 = 0x9e37_79b9_7f4a_7c15;

/// A stream of pseudorandom numbers.
#[derive(Debug, Clone)]
pub struct Random(u64);

/// The output function: every bit of the input affects every bit of the output.
fn finalize(mut bits: u64) -> u64 {
    bits = (bits ^ (bits >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    bits = (bits ^ (bits >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    bits ^ (bits >> 31)
}

impl Random {
    /// The stream of `seed`: that of the published algorithm.
    pub fn new(seed: u64) -> Self {
        Self(seed)
    }

    /// The stream of `seed` and `keys`, in this order. Streams of other keys are unrelated, so what is drawn for one
    /// object does not depend on how much was drawn for another.
    pub fn keyed(seed: u64, keys: &[u64]) -> Self {
        let hash = |bits: u64| finalize(bits.wrapping_add(INCREMENT));
        let state = keys.iter().fold(hash(seed), |bits, &key| hash(bits ^ key.wrapping_mul(0xd134_2543_de82_ef95)));
        Self(state.wrapping_add(INCREMENT))
    }

    /// The stream of a name: its bytes, hashed with FNV-1a's multiplier.
    pub fn named(name: &str) -> Self {
        Self(name.bytes().fold(INCREMENT, |seed, byte| (seed ^ u64::from(byte)).wrapping_mul(0x100_0000_01b3)))
    }

    /// The next 64 bits.
    pub fn bits(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(INCREMENT);
        finalize(self.0)
    }

    /// Uniform in [0, 1), in steps of 2⁻²⁴.
    pub fn unit(&mut self) -> f32 {
        (self.bits() >> 40) as f32 / (1u32 << 24) as f32
    }

    /// Uniform in [`low`, `high`).
    pub fn range(&mut self, low: f32, high: f32) -> f32 {
        low + (high - low) * self.unit()
    }

    /// True with this probability.
    pub fn chance(&mut self, probability: f32) -> bool {
        self.unit() < probability
    }

    /// Uniform in 0 to `count` − 1. The bias towards some numbers is below `count` / 2³².
    pub fn below(&mut self, count: usize) -> usize {
        (((self.bits() >> 32) * count as u64) >> 32) as usize
    }

    /// One of `choices`, which must not be empty.
    pub fn pick<T: Copy>(&mut self, choices: &[T]) -> T {
        choices[self.below(choices.len())]
    }

    /// Approximately normal with mean 0 and variance 1: the centred sum of four uniform numbers, scaled by √3.
    pub fn normal(&mut self) -> f32 {
        let bits = self.bits();
        let sum: u32 = (0..4).map(|part| ((bits >> (16 * part)) & 0xffff) as u32).sum();
        (sum as f32 / 65536.0 - 2.0) * 1.732_050_8
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_stream_is_that_of_the_published_algorithm() {
        // The reference implementation (splitmix64.c, Vigna, 2015) started at 1234567.
        let mut random = Random::new(1_234_567);
        let bits: Vec<u64> = (0..3).map(|_| random.bits()).collect();
        assert_eq!(bits, [6_457_827_717_110_365_317, 3_203_168_211_198_807_973, 9_817_491_932_198_370_423]);
    }

    #[test]
    fn numbers_depend_on_seed_and_keys_and_stay_in_range() {
        assert_eq!(Random::keyed(1, &[2, 3]).bits(), Random::keyed(1, &[2, 3]).bits());
        assert_ne!(Random::keyed(1, &[2, 3]).bits(), Random::keyed(1, &[3, 2]).bits());
        assert_ne!(Random::keyed(1, &[2]).bits(), Random::keyed(2, &[2]).bits());
        let mut random = Random::keyed(5, &[]);
        let units: Vec<f32> = (0..4000).map(|_| random.unit()).collect();
        assert!(units.iter().all(|unit| (0.0..1.0).contains(unit)));
        let mean = units.iter().sum::<f32>() / 4000.0;
        assert!((mean - 0.5).abs() < 0.02, "{mean}");
        assert!((0..100).all(|_| random.below(3) < 3));
    }
}
