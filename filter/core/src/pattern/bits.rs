//! Sets of small numbers.

const WIDTH: usize = 64;

/// A set of numbers, one bit each.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub struct Bits(Vec<u64>);

impl Bits {
    /// A set with room for the numbers below a bound; larger ones are never in it.
    pub fn new(bound: usize) -> Self {
        Self(vec![0; bound.div_ceil(WIDTH)])
    }

    /// All numbers below a bound.
    pub fn all(bound: usize) -> Self {
        let mut all = Self::new(bound);
        (0..bound).for_each(|number| {
            all.add(number);
        });
        all
    }

    /// The numbers in the set, in order.
    pub fn iter(&self) -> impl Iterator<Item = usize> + '_ {
        self.0.iter().enumerate().flat_map(|(place, word)| {
            let mut word = *word;
            std::iter::from_fn(move || {
                let bit = usize::try_from(word.trailing_zeros()).ok()?;
                // Takes out the lowest bit.
                word = (word != 0).then(|| word & word.wrapping_sub(1))?;
                place.checked_mul(WIDTH)?.checked_add(bit)
            })
        })
    }

    /// Adds a number; whether it was not in the set before.
    pub fn add(&mut self, number: usize) -> bool {
        let (place, mask) = split(number);
        let Some(word) = self.0.get_mut(place) else {
            return false;
        };
        let was = *word;
        *word |= mask;
        was != *word
    }

    /// Takes a number out.
    pub fn remove(&mut self, number: usize) {
        let (place, mask) = split(number);
        if let Some(word) = self.0.get_mut(place) {
            *word &= !mask;
        }
    }

    /// Whether no number is in the set.
    pub fn is_empty(&self) -> bool {
        self.0.iter().all(|word| *word == 0)
    }

    /// Whether a number is in the set.
    pub fn has(&self, number: usize) -> bool {
        let (place, mask) = split(number);
        self.0.get(place).is_some_and(|word| word & mask != 0)
    }

    /// Adds what is in another set of the same size.
    pub fn unite(&mut self, other: &Self) {
        for (word, more) in self.0.iter_mut().zip(&other.0) {
            *word |= more;
        }
    }

    /// Keeps what is in another set of the same size, too.
    pub fn intersect(&mut self, other: &Self) {
        for (word, more) in self.0.iter_mut().zip(&other.0) {
            *word &= more;
        }
    }
}

fn split(number: usize) -> (usize, u64) {
    let bit = u32::try_from(number % WIDTH).unwrap_or_default();
    (number / WIDTH, 1_u64.wrapping_shl(bit))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_added_once_and_only_below_the_bound() {
        let mut bits = Bits::new(65);
        assert!(bits.add(0) && bits.add(64) && !bits.add(64) && !bits.add(128));
        assert!(bits.has(0) && bits.has(64) && !bits.has(63) && !bits.has(128));
        let mut other = Bits::new(65);
        other.add(64);
        other.add(1);
        bits.intersect(&other);
        assert!(bits.has(64) && !bits.has(0));
        bits.unite(&other);
        assert!(bits.has(1));
        assert_eq!(bits.iter().collect::<Vec<_>>(), [1, 64]);
        bits.remove(1);
        bits.remove(128);
        assert_eq!(bits.iter().collect::<Vec<_>>(), [64]);
        assert_eq!(
            Bits::all(66).iter().collect::<Vec<_>>(),
            (0..66).collect::<Vec<_>>()
        );
        assert!(!bits.is_empty() && Bits::new(65).is_empty());
        assert!(!Bits::default().has(0));
    }
}
