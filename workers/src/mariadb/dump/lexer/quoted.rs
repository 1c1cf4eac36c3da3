//! Names and strings as tokens.

use super::super::scan::{Data, Known, Rest, StringEnd, string_end};
use super::super::token::{TOKEN_BYTES, Token, TokenKind};
use super::{Lexer, Place, Sink, Step};

/// The content of a token that is whole, or so much of it as is kept.
enum Content {
    /// Up to its closing quote, at this index.
    Whole(usize),
    /// Up to this index, where the rest goes on.
    Cut(usize),
}

impl Lexer {
    pub(super) fn quoted(&mut self, data: Data<'_>, at: usize, sink: &mut impl Sink) -> Step {
        let quote = data.bytes[at];
        let (end, next, cut) = match self.content(data, at) {
            Some(Content::Whole(end)) => (end, end + 1, false),
            Some(Content::Cut(end)) => (end, end, true),
            None => return Step::More,
        };
        if cut {
            self.place = Place::Quoted(quote);
        }
        let kind = if self.quoting.encloses_names(quote) { TokenKind::Name } else { TokenKind::String };
        let token = Token {
            kind,
            text: &data.bytes[at + 1..end],
            quote,
            cut,
            in_comment: self.in_comment,
            start: self.position,
            end: self.position + (next - at) as u64,
        };
        self.emit(token, sink);
        Step::To(next)
    }

    fn content(&self, data: Data<'_>, at: usize) -> Option<Content> {
        let quote = data.bytes[at];
        let escapes = self.quoting.escapes(quote);
        let mut end = at + 1;
        // The cut is between two characters, and where it is depends on nothing but the content.
        while end - at <= TOKEN_BYTES {
            let escape = match data.bytes.get(end) {
                Some(byte) if *byte == quote => false,
                Some(b'\\') if escapes => true,
                Some(_) => {
                    end += 1;
                    continue;
                }
                None if data.rest == Rest::None => return Some(Content::Cut(end)),
                None => return None,
            };
            match data.byte(end + 1) {
                Known::Yes(Some(second)) if escape || second == quote => end += 2,
                Known::NotYet => return None,
                _ if escape => end += 1,
                _ => return Some(Content::Whole(end)),
            }
        }
        Some(Content::Cut(end))
    }

    pub(super) fn quoted_rest(&mut self, data: Data<'_>, at: usize, quote: u8) -> Step {
        match string_end(data.bytes, at, quote, self.quoting.escapes(quote)) {
            StringEnd::Closed(next) => {
                self.place = Place::Code;
                Step::To(next)
            }
            StringEnd::Open(next) if next > at => Step::To(next),
            StringEnd::Open(_) if data.rest == Rest::MayFollow => Step::More,
            // A backslash is the last byte of the stream.
            StringEnd::Open(_) => Step::To(data.bytes.len()),
        }
    }
}
