//! What the counter lacks, by code offset: with it a count is exact after a trap anywhere.
//!
//! The engine says at which offset of the rewritten module a guest trapped. What the counter lacks there is a constant of the
//! module, so no guest spends an instruction on it.

use super::stack::DEPTH_MAX;

/// The table of one module. Offsets are bytes from the start of the rewritten module.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub struct Pending {
    /// From each offset on, the units that the counter lacks; ascending.
    entries: Vec<(u32, i32)>,
    /// Offsets of the `unreachable` operators that the meter put there; ascending.
    stops: Vec<(u32, Stop)>,
}

/// What an `unreachable` of the meter's own means.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stop {
    /// The count is over the limit word.
    Limit,
    /// Calls are nested too deep.
    Depth {
        /// The nominal bytes of the function that stopped.
        frame: u32,
    },
}

impl Stop {
    /// Whether it is depth that stops a function whose caller noted `depth`. Compilers make one of two traps that follow each other
    /// directly, so the guest's own may carry the offset of the meter's.
    pub fn is_too_deep(self, depth: u32) -> bool {
        matches!(self, Self::Depth { frame } if depth.saturating_add(frame) > DEPTH_MAX)
    }
}

/// A table that cannot be read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the table of pending amounts is damaged")]
pub struct PendingError;

impl Pending {
    /// The units that the counter lacks where the code at `offset` trapped.
    pub fn at(&self, offset: u32) -> i64 {
        let next = self.entries.partition_point(|(from, _)| *from <= offset);
        next.checked_sub(1).map_or(0, |entry| self.entries[entry].1.into())
    }

    /// What the meter means by a trap at `offset`; nothing where the trap is the guest's own.
    pub fn stop_at(&self, offset: u32) -> Option<Stop> {
        self.stops.binary_search_by_key(&offset, |(at, _)| *at).ok().map(|index| self.stops[index].1)
    }

    /// How many entries there are.
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// Whether the table says nothing.
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// The largest amount that the counter ever lacks or is ahead by, in units.
    pub fn largest(&self) -> u32 {
        self.entries.iter().map(|(_, units)| units.unsigned_abs()).max().unwrap_or(0)
    }

    /// Adds the table of a function whose code begins at `base`.
    pub(super) fn append(&mut self, base: u32, function: &Self) {
        self.entries.extend(function.entries.iter().map(|(offset, units)| (base + offset, *units)));
        self.stops.extend(function.stops.iter().map(|(offset, stop)| (base + offset, *stop)));
    }

    /// From `offset` on the counter lacks `units`.
    pub(super) fn set(&mut self, offset: usize, units: i64) {
        let offset = u32::try_from(offset).expect("a function is far below 4 GiB");
        let units = i32::try_from(units).expect("a function within its limits has few units on any way without a circle");
        if let Some(last) = self.entries.last_mut().filter(|last| last.0 == offset) {
            last.1 = units;
        } else {
            self.entries.push((offset, units));
        }
    }

    /// The operator at `offset` is a stop.
    pub(super) fn add_stop(&mut self, offset: usize, stop: Stop) {
        self.stops.push((u32::try_from(offset).expect("a function is far below 4 GiB"), stop));
    }

    /// The table as bytes, for the file that holds the module's machine code.
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(8 + 8 * (self.entries.len() + self.stops.len()));
        bytes.extend_from_slice(&(self.entries.len() as u32).to_le_bytes());
        bytes.extend_from_slice(&(self.stops.len() as u32).to_le_bytes());
        for (offset, units) in &self.entries {
            bytes.extend_from_slice(&offset.to_le_bytes());
            bytes.extend_from_slice(&units.to_le_bytes());
        }
        for (offset, stop) in &self.stops {
            bytes.extend_from_slice(&offset.to_le_bytes());
            let word = match stop {
                Stop::Limit => 0,
                Stop::Depth { frame } => *frame,
            };
            bytes.extend_from_slice(&word.to_le_bytes());
        }
        bytes
    }

    /// Reads a table.
    ///
    /// # Errors
    /// [`PendingError`] where the bytes are no table.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, PendingError> {
        let (words, rest) = bytes.as_chunks::<4>();
        let [entries, stops, words @ ..] = words else { return Err(PendingError) };
        let (entries, stops) = (u32::from_le_bytes(*entries) as usize, u32::from_le_bytes(*stops) as usize);
        let (pairs, odd) = words.as_chunks::<2>();
        if !rest.is_empty() || !odd.is_empty() || entries.checked_add(stops) != Some(pairs.len()) {
            return Err(PendingError);
        }
        let (entries, stops) = pairs.split_at(entries);
        // No frame is empty.
        let stop = |word: u32| if word == 0 { Stop::Limit } else { Stop::Depth { frame: word } };
        Ok(Self {
            entries: entries.iter().map(|[at, units]| (u32::from_le_bytes(*at), i32::from_le_bytes(*units))).collect(),
            stops: stops.iter().map(|[at, word]| (u32::from_le_bytes(*at), stop(u32::from_le_bytes(*word)))).collect(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn table() -> Pending {
        let mut function = Pending::default();
        function.set(0, 0);
        function.set(4, 7);
        function.set(9, -3);
        function.add_stop(6, Stop::Limit);
        function.add_stop(8, Stop::Depth { frame: 64 });
        let mut table = Pending::default();
        table.append(100, &function);
        table
    }

    #[test]
    fn an_amount_holds_from_its_offset_to_the_next() {
        let rows = [(0, 0), (99, 0), (100, 0), (103, 0), (104, 7), (108, 7), (109, -3), (u32::MAX, -3)];
        for (offset, units) in rows {
            assert_eq!(table().at(offset), units, "{offset}");
        }
        assert_eq!(Pending::default().at(5), 0);
    }

    #[test]
    fn only_the_meters_own_traps_are_stops() {
        assert_eq!(table().stop_at(106), Some(Stop::Limit));
        assert_eq!(table().stop_at(108), Some(Stop::Depth { frame: 64 }));
        assert_eq!(table().stop_at(107), None);
    }

    #[test]
    fn depth_stops_only_who_is_too_deep() {
        let stop = Stop::Depth { frame: 64 };
        assert!(stop.is_too_deep(DEPTH_MAX - 63) && !stop.is_too_deep(DEPTH_MAX - 64));
        assert!(!Stop::Limit.is_too_deep(u32::MAX));
    }

    #[test]
    fn table_survives_its_bytes_and_nothing_else_is_read() {
        let bytes = table().to_bytes();
        assert_eq!(Pending::from_bytes(&bytes), Ok(table()));
        for cut in 0..bytes.len() {
            assert_eq!(Pending::from_bytes(&bytes[..cut]), Err(PendingError), "{cut}");
        }
        let mut huge = bytes;
        huge[..4].copy_from_slice(&u32::MAX.to_le_bytes());
        assert_eq!(Pending::from_bytes(&huge), Err(PendingError));
    }
}
