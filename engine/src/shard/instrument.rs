//! Instruments by symbol, and what order entry and the feed need to know of each. Prices and queues are the book's.

use crate::inputs::InstrumentInput;

/// As the journal introduced it; reference price and state move since.
pub type Instrument = InstrumentInput;

/// Symbol to instrument number: open addressing at half load. Looked up only, never iterated.
#[derive(Debug, Clone)]
pub struct SymbolTable {
    /// Symbol as a big-endian number (0 is empty: a symbol is never eight zero bytes) and its instrument.
    slots: Box<[(u64, u32)]>,
    shift: u32,
}

impl SymbolTable {
    pub fn with_capacity(symbols: usize) -> Self {
        let size = (symbols.max(4) * 2).next_power_of_two();
        Self { slots: vec![(0, 0); size].into_boxed_slice(), shift: 64 - size.trailing_zeros() }
    }

    #[inline]
    pub fn get(&self, symbol: &[u8; 8]) -> Option<u32> {
        let key = u64::from_be_bytes(*symbol);
        let mut slot = self.home(key);
        loop {
            match self.slots[slot] {
                (0, _) => return None,
                (found, instrument) if found == key => return Some(instrument),
                _ => slot = (slot + 1) & (self.slots.len() - 1),
            }
        }
    }

    /// Adds a symbol that is not there yet, growing when half full: instruments arrive before trading does.
    pub fn insert(&mut self, symbol: &[u8; 8], instrument: u32) {
        if (instrument as usize + 1) * 2 > self.slots.len() {
            let mut larger = Self::with_capacity(self.slots.len());
            for &(key, value) in self.slots.iter().filter(|slot| slot.0 != 0) {
                larger.place(key, value);
            }
            *self = larger;
        }
        self.place(u64::from_be_bytes(*symbol), instrument);
    }

    fn place(&mut self, key: u64, instrument: u32) {
        let mut slot = self.home(key);
        while self.slots[slot].0 != 0 {
            slot = (slot + 1) & (self.slots.len() - 1);
        }
        self.slots[slot] = (key, instrument);
    }

    #[inline]
    fn home(&self, key: u64) -> usize {
        (key.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> self.shift) as usize
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_symbol_is_found_again_and_no_other() {
        let mut table = SymbolTable::with_capacity(1);
        for number in 0..10_000u32 {
            table.insert(&crate::config::padded(&format!("S{number}")), number);
        }
        for number in 0..10_000u32 {
            assert_eq!(table.get(&crate::config::padded(&format!("S{number}"))), Some(number));
        }
        assert_eq!(table.get(b"NONE    "), None);
        assert_eq!(table.get(&[0; 8]), None);
    }
}
