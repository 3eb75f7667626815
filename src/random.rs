//! Random numbers for sampling and resampling: the same ones everywhere. It must not know what they are for.

/// SplitMix64 (G. Steele et al., 2014): small, and the same numbers everywhere.
pub struct SplitMix(pub u64);

impl SplitMix {
    /// Any of the 2^64 numbers.
    #[allow(clippy::should_implement_trait)]
    pub fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e3779b97f4a7c15);
        let z = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58476d1ce4e5b9);
        let z = (z ^ (z >> 27)).wrapping_mul(0x94d049bb133111eb);
        z ^ (z >> 31)
    }

    /// Evenly from 0 to `n` − 1 (the multiply-shift method; its bias is below n / 2^64).
    pub fn below(&mut self, n: usize) -> usize {
        ((u128::from(self.next()) * n as u128) >> 64) as usize
    }
}
