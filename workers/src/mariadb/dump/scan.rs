//! Byte searches that decide how fast a dump can be read.

use memchr::{memchr, memchr2};

/// Strings in rows are short as a rule; starting a vector search costs more than looking at so many words of 8 bytes.
const NEAR_WORDS: usize = 3;
const ONES: u64 = u64::from_le_bytes([1; 8]);

/// A piece of the stream, and whether more can follow.
#[derive(Debug, Clone, Copy)]
pub(super) struct Data<'a> {
    pub bytes: &'a [u8],
    pub rest: Rest,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Rest {
    MayFollow,
    None,
}

/// The answer to a question about bytes of which some may not be there yet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Known<T> {
    Yes(T),
    No,
    NotYet,
}

/// Where the search for the end of a string stopped.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum StringEnd {
    /// Behind the closing quote.
    Closed(usize),
    /// The data ended; the search goes on here when there is more.
    Open(usize),
}

impl Data<'_> {
    /// The byte at this index; `Yes(None)` if the stream ends before it.
    pub fn byte(&self, at: usize) -> Known<Option<u8>> {
        match (self.bytes.get(at), self.rest) {
            (Some(byte), _) => Known::Yes(Some(*byte)),
            (None, Rest::None) => Known::Yes(None),
            (None, Rest::MayFollow) => Known::NotYet,
        }
    }

    pub fn starts_with(&self, at: usize, pattern: &[u8]) -> Known<()> {
        self.compare(at, pattern, <[u8]>::eq)
    }

    pub fn starts_with_word(&self, at: usize, pattern: &[u8]) -> Known<()> {
        self.compare(at, pattern, <[u8]>::eq_ignore_ascii_case)
    }

    fn compare(&self, at: usize, pattern: &[u8], equal: impl Fn(&[u8], &[u8]) -> bool) -> Known<()> {
        let there = &self.bytes[at..self.bytes.len().min(at + pattern.len())];
        if !equal(there, &pattern[..there.len()]) {
            Known::No
        } else if there.len() == pattern.len() {
            Known::Yes(())
        } else {
            match self.rest {
                Rest::MayFollow => Known::NotYet,
                Rest::None => Known::No,
            }
        }
    }
}

/// Finds the end of a string whose content goes on at `at`. A doubled quote ends one string and starts the next,
/// which makes no difference to whoever only looks for the end of all of them.
pub(super) fn string_end(bytes: &[u8], mut at: usize, quote: u8, escapes: bool) -> StringEnd {
    loop {
        match quote_or_escape(bytes, at, quote, escapes) {
            None => return StringEnd::Open(bytes.len()),
            Some(found) if bytes[found] == quote => return StringEnd::Closed(found + 1),
            // The byte behind the backslash is part of the string, whatever it is.
            Some(found) if found + 1 < bytes.len() => at = found + 2,
            Some(found) => return StringEnd::Open(found),
        }
    }
}

fn quote_or_escape(bytes: &[u8], mut at: usize, quote: u8, escapes: bool) -> Option<usize> {
    let second = if escapes { b'\\' } else { quote };
    for _ in 0..NEAR_WORDS {
        let Some(word) = bytes.get(at..at + 8).and_then(|word| word.try_into().ok()).map(u64::from_le_bytes) else {
            break;
        };
        let found = zero_byte(word ^ (ONES * u64::from(quote))) | zero_byte(word ^ (ONES * u64::from(second)));
        if found != 0 {
            return Some(at + found.trailing_zeros() as usize / 8);
        }
        at += 8;
    }
    let rest = &bytes[at..];
    let next = if escapes { memchr2(quote, second, rest) } else { memchr(quote, rest) };
    next.map(|next| at + next)
}

/// The highest bit of the lowest byte that is zero is set; above it, any bits may be.
fn zero_byte(word: u64) -> u64 {
    word.wrapping_sub(ONES) & !word & (ONES << 7)
}

/// Marks the bytes that may mean something between the parentheses of a row.
#[derive(Debug, Clone)]
pub(super) struct Marks([bool; 256]);

impl Marks {
    pub fn new(delimiter: &[u8]) -> Self {
        let mut marks = [false; 256];
        for byte in b"'\"`()-/*#\\@".iter().chain(delimiter.first()) {
            marks[usize::from(*byte)] = true;
        }
        Self(marks)
    }

    /// The index of the next such byte.
    pub fn next(&self, bytes: &[u8], mut at: usize) -> Option<usize> {
        let marked = |byte: u8| self.0[usize::from(byte)];
        while let Some(eight) = bytes.get(at..at + 8) {
            if let Some(found) = eight.iter().position(|byte| marked(*byte)) {
                return Some(at + found);
            }
            at += 8;
        }
        bytes[at..].iter().position(|byte| marked(*byte)).map(|found| at + found)
    }
}
