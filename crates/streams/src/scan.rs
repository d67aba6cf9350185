//! Searching for separators: the one that ends first, without looking at a byte twice.
//!
//! What is searched for is the *last* byte of a separator, and what lies before it is compared then. So the
//! search is over wherever it has been, whatever comes next: no match can end there any more. Nothing has to be
//! searched again at the seam of two pieces, as it would be if matches were searched for by their beginning.

use crate::errors::SeparatorError;

/// What a read may end with.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Separators<'a> {
    One(&'a [u8]),
    Any(&'a [&'a [u8]]),
}

/// Where a separator stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Match {
    pub(crate) start: usize,
    pub(crate) end: usize,
}

impl<'a> Separators<'a> {
    /// Refuses those that cannot be searched for.
    pub(crate) fn check(&self) -> Result<(), SeparatorError> {
        let separators = self.all();
        if separators.is_empty() {
            return Err(SeparatorError::None);
        }
        if separators.iter().any(|separator| separator.is_empty()) {
            return Err(SeparatorError::Empty);
        }
        Ok(())
    }

    /// The length of the longest.
    pub(crate) fn longest(&self) -> usize {
        self.all().iter().map(|separator| separator.len()).max().unwrap_or(0)
    }

    fn all(&self) -> &[&'a [u8]] {
        match self {
            Separators::One(separator) => std::slice::from_ref(separator),
            Separators::Any(separators) => separators,
        }
    }

    /// Finds the separator that ends first; of those that end at the same place, the shortest. No match may
    /// end in `data[..from]`, which is not searched.
    // Inlined, for an answer of three words is dear when it goes through memory for each line.
    #[inline(always)]
    pub(crate) fn find(&self, data: &[u8], from: usize) -> Option<Match> {
        let found = match self {
            Separators::One(separator) => find_one(separator, data, from),
            Separators::Any(separators) => find_any(separators, data, from),
        };
        #[cfg(test)]
        tests::count(found.map_or(data.len(), |found| found.end) - from);
        found
    }
}

#[inline(always)]
fn find_one(separator: &[u8], data: &[u8], from: usize) -> Option<Match> {
    let (last, before) = separator.split_last()?;
    let mut searched = from;
    loop {
        let place = searched + position(*last, data.get(searched..)?)?;
        if before.is_empty() || data[..place].ends_with(before) {
            return Some(Match { start: place - before.len(), end: place + 1 });
        }
        searched = place + 1;
    }
}

/// Where `byte` occurs first.
///
/// A block is compared as a whole, which compilers turn into one wide comparison.
fn position(byte: u8, data: &[u8]) -> Option<usize> {
    let (blocks, rest) = data.as_chunks::<BLOCK>();
    for (number, block) in blocks.iter().enumerate() {
        if block.iter().fold(false, |found, other| found | (*other == byte)) {
            return Some(number * BLOCK + position_in(byte, block));
        }
    }
    let place = rest.iter().position(|other| *other == byte)?;
    Some(blocks.len() * BLOCK + place)
}

const BLOCK: usize = 16;

/// The same in a block that has it: the lowest byte of what is set where the two are equal.
#[inline(always)]
fn position_in(byte: u8, block: &[u8; BLOCK]) -> usize {
    let mut equal = [0; BLOCK];
    for (equal, other) in equal.iter_mut().zip(block) {
        *equal = if *other == byte { u8::MAX } else { 0 };
    }
    u128::from_le_bytes(equal).trailing_zeros() as usize / 8
}

fn find_any(separators: &[&[u8]], data: &[u8], from: usize) -> Option<Match> {
    let mut is_last = [false; 256];
    for last in separators.iter().filter_map(|separator| separator.last()) {
        is_last[usize::from(*last)] = true;
    }
    let places = data.iter().enumerate().skip(from);
    for (place, _) in places.filter(|(_, byte)| is_last[usize::from(**byte)]) {
        let before = &data[..=place];
        let ending = separators.iter().filter(|separator| before.ends_with(separator));
        if let Some(length) = ending.map(|separator| separator.len()).min() {
            return Some(Match { start: place + 1 - length, end: place + 1 });
        }
    }
    None
}

#[cfg(test)]
pub(crate) mod tests {
    use std::cell::Cell;

    use proptest::prelude::*;

    use super::*;

    thread_local! {
        static SEARCHED: Cell<usize> = const { Cell::new(0) };
    }

    /// So many bytes were looked at.
    pub(super) fn count(bytes: usize) {
        SEARCHED.set(SEARCHED.get() + bytes);
    }

    /// How many bytes this thread has looked at so far.
    pub(crate) fn searched() -> usize {
        SEARCHED.get()
    }

    fn check(data: &str, separators: &[&str], expected: Option<&str>) {
        let separators: Vec<&[u8]> = separators.iter().map(|text| text.as_bytes()).collect();
        let read = |found: Option<Match>| found.map(|found| data[..found.end].to_owned());
        let found = Separators::Any(&separators).find(data.as_bytes(), 0);
        assert_eq!(read(found).as_deref(), expected, "{data:?}");
        if let [separator] = *separators {
            assert_eq!(Separators::One(separator).find(data.as_bytes(), 0), found);
        }
    }

    #[test]
    fn the_separator_that_ends_first_wins() {
        // R-31
        check("ABCDEFG", &["DEF", "BCDE"], Some("ABCDE"));
        check("ab\r\ncd", &["\r\n", "\r"], Some("ab\r"));
        check("ab\r\ncd", &["\r\n", "\n"], Some("ab\r\n"));
        check("abc", &["d", "e"], None);
        check("aaab", &["aab"], Some("aaab"));
        check("\n\n", &["\n"], Some("\n"));
        check("", &["\n"], None);
    }

    #[test]
    fn of_two_that_end_together_the_shorter_wins() {
        // R-31
        let separators = [&b"ome dataA"[..], b"A"];
        let found = Separators::Any(&separators).find(b"some dataA", 0);
        assert_eq!(found, Some(Match { start: 9, end: 10 }));
    }

    #[test]
    fn separators_of_no_use_are_refused() {
        // R-30
        assert_eq!(Separators::Any(&[]).check(), Err(SeparatorError::None));
        assert_eq!(Separators::One(b"").check(), Err(SeparatorError::Empty));
        assert_eq!(Separators::Any(&[b"a", b""]).check(), Err(SeparatorError::Empty));
        assert_eq!(Separators::Any(&[b"a", b"bc"]).check(), Ok(()));
    }

    /// The rule as it is written: of all matches the one with the least end, then with the greatest start.
    fn by_the_rule(separators: &[&[u8]], data: &[u8]) -> Option<Match> {
        let ends = (1..=data.len()).flat_map(|end| {
            separators
                .iter()
                .filter(move |separator| data[..end].ends_with(separator))
                .map(move |separator| Match { start: end - separator.len(), end })
        });
        ends.min_by_key(|found| (found.end, std::cmp::Reverse(found.start)))
    }

    proptest! {
        #[test]
        fn a_byte_is_found_where_it_occurs_first(
            data in proptest::collection::vec(prop_oneof![8 => 0_u8..3, 1 => 0x7e_u8..0x83, 1 => 0xfd_u8..=0xff], 0..100),
            byte in prop_oneof![0_u8..3, 0x7e_u8..0x83, 0xfd_u8..=0xff],
        ) {
            prop_assert_eq!(position(byte, &data), data.iter().position(|other| *other == byte));
        }
    }

    fn few_letters(length: std::ops::Range<usize>) -> impl Strategy<Value = Vec<u8>> {
        proptest::collection::vec(prop_oneof![Just(b'a'), Just(b'b'), Just(b'c')], length)
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 512, failure_persistence: None, ..ProptestConfig::default() })]

        /// However the data comes in pieces, each byte is handed to the search once, and the match is the rule's.
        #[test]
        fn no_byte_is_searched_twice(
            data in few_letters(0..60),
            separators in proptest::collection::vec(few_letters(1..5), 1..4),
            pieces in proptest::collection::vec(1..9_usize, 60),
        ) {
            let separators: Vec<&[u8]> = separators.iter().map(Vec::as_slice).collect();
            let several = Separators::Any(&separators);
            let one = Separators::One(separators[0]);
            for (sought, separators) in [(several, &separators[..]), (one, &separators[..1])] {
                let (mut there, mut searched, mut handed, mut found) = (0, 0, 0, None);
                for piece in &pieces {
                    there = (there + piece).min(data.len());
                    found = sought.find(&data[..there], searched);
                    handed += there - searched;
                    searched = there;
                    if found.is_some() || there == data.len() {
                        break;
                    }
                }
                prop_assert_eq!(found, by_the_rule(separators, &data[..there]));
                prop_assert!(handed <= data.len());
            }
        }
    }
}
