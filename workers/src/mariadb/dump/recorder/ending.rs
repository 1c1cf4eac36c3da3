//! Follows what a stream's beginnings and ends say about whether it is whole.

use super::super::complete::{Cut, Ending, FirstDump, Line, line};
use super::super::lexer::{self, Comment, CommentEnding, Inside};

const TAIL_BYTES: usize = 80;

#[derive(Debug, Default)]
pub(super) struct StreamEnd {
    bytes: u64,
    tail: Vec<u8>,
    /// Something other than white space and a comment was there.
    begun: bool,
    writers: u32,
    /// The last line was seen, and its newline.
    trailer: bool,
    /// Found once and final.
    fault: Option<Ending>,
}

impl StreamEnd {
    pub fn bytes(&self) -> u64 {
        self.bytes
    }

    pub fn passes(&mut self, block: &[u8]) {
        self.bytes += block.len() as u64;
        let kept = &block[block.len().saturating_sub(TAIL_BYTES)..];
        let old = (self.tail.len() + kept.len()).saturating_sub(TAIL_BYTES);
        self.tail.drain(..old);
        self.tail.extend_from_slice(kept);
    }

    /// A statement or a command of the client starts.
    pub fn begins(&mut self, at: u64) {
        self.begun = true;
        self.follows_trailer(at);
    }

    pub fn statement(&mut self, end: &lexer::StatementEnd, shown: impl Fn() -> String) {
        if let Some(Ending::Garbage { at, start }) = &mut self.fault
            && start.is_empty()
            && *at == end.start
        {
            *start = shown();
        }
        let Some(inside) = end.cut.filter(|_| self.fault.is_none()) else { return };
        let cut = match inside {
            Inside::Statement => Cut::Statement,
            Inside::String => Cut::String,
            Inside::Comment if end.start == end.at => {
                self.fault = Some(Ending::CutComment { at: end.at });
                return;
            }
            Inside::Comment => Cut::Comment,
        };
        self.fault = Some(Ending::CutStatement { inside: cut, statement: shown(), at: end.at });
    }

    pub fn comment<'a>(&mut self, comment: &Comment<'a>) -> Line<'a> {
        let found = line(comment.text);
        match found {
            Line::Writer(_) => {
                self.writers += 1;
                if self.writers > 1 && !matches!(self.fault, Some(Ending::SecondDump { .. })) {
                    let first = if self.trailer { FirstDump::Whole } else { FirstDump::Cut };
                    self.fault = Some(Ending::SecondDump { at: comment.start, first });
                }
            }
            Line::Trailer if comment.ending == CommentEnding::Line && !self.trailer => {
                self.trailer = true;
                return found;
            }
            // A second dump starts with such a comment before its first line.
            _ if comment.text.is_empty() => return found,
            _ => {}
        }
        self.begun = true;
        let fault = self.fault.is_none();
        self.follows_trailer(comment.start);
        if let Some(Ending::Garbage { start, .. }) = self.fault.as_mut().filter(|_| fault) {
            *start =
                crate::process::escape(&String::from_utf8_lossy(&comment.text[..comment.text.len().min(TAIL_BYTES)]));
        }
        found
    }

    fn follows_trailer(&mut self, at: u64) {
        if self.trailer && self.fault.is_none() {
            self.fault = Some(Ending::Garbage { at, start: String::new() });
        }
    }

    pub fn ending(self) -> Ending {
        let end = || crate::process::escape(String::from_utf8_lossy(&self.tail).trim());
        match self.fault {
            Some(fault) => fault,
            None if self.trailer => Ending::Complete,
            None if !self.begun && self.tail.iter().all(|byte| super::super::token::is_space(*byte)) => Ending::Empty,
            None => Ending::NoTrailer { end: end() },
        }
    }
}
