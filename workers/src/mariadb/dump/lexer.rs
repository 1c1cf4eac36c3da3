//! Bytes to tokens, comments and ends of statements, as the `mariadb` client (with `--binary-mode`) and the server see
//! them. It does not know what a statement means; its sink does, and answers how to go on.

mod code;
mod quoted;
mod rows;

use super::scan::{Data, Known, Marks, Rest};
use super::token::{Encoding, InComment, Quoting, Token, TokenKind, is_word};

/// How much of the next block is looked at together with what was left of the last one.
const JOINED_BYTES: usize = 4096;

/// How the rest of a statement is read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Mode {
    Tokens,
    /// Rows in parentheses, which are counted and not taken apart.
    Rows,
}

/// The end of a statement.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct StatementEnd {
    /// Offset of its first byte.
    pub start: u64,
    /// Offset behind its last byte, where its delimiter begins.
    pub at: u64,
    /// Offset behind the delimiter.
    pub next: u64,
    pub rows: u64,
    /// Set if the stream ended before the statement did.
    pub cut: Option<Inside>,
}

/// Where the end of a stream cut a statement.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Inside {
    Statement,
    String,
    Comment,
}

/// A comment that belongs to no statement.
#[derive(Debug, Clone, Copy)]
pub(super) struct Comment<'a> {
    pub start: u64,
    /// The beginning of a comment to the end of its line, with `--` or `#`; nothing of other comments.
    pub text: &'a [u8],
    pub ending: CommentEnding,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum CommentEnding {
    /// With a line break.
    Line,
    /// With the stream.
    Stream,
    /// `text` is only its beginning.
    Later,
}

pub(super) trait Sink {
    /// A statement starts at this offset.
    fn begin(&mut self, start: u64);
    fn token(&mut self, token: &Token<'_>) -> Mode;
    /// Servers, or the client and the server, may read the statement that has begun in different ways.
    fn unclear(&mut self);
    /// The answer is how the server reads quotes from here on.
    fn end(&mut self, end: &StatementEnd) -> Quoting;
    fn comment(&mut self, comment: &Comment<'_>);
    /// A `DELIMITER` command starts at this offset. Without an argument that the client accepts there is no change.
    fn delimiter(&mut self, start: u64, argument: Option<&[u8]>);
}

/// The part of the stream that the next byte belongs to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Place {
    Code,
    LineComment,
    BlockComment,
    /// A comment with a version that no server runs. It may hold another comment.
    SkippedComment,
    /// The comment in a skipped one.
    InnerComment,
    /// The rest of a string or name.
    Quoted(u8),
    /// The rest of a word that is longer than a token may be.
    Word,
}

#[derive(Debug)]
pub(super) struct Lexer {
    quoting: Quoting,
    delimiter: Vec<u8>,
    marks: Marks,
    place: Place,
    mode: Mode,
    /// Open parentheses of a row.
    depth: u32,
    rows: u64,
    /// Open executable comments.
    conditionals: u32,
    /// The servers that run the outermost of them.
    in_comment: InComment,
    /// The byte before this one.
    before: u8,
    /// Offset of the statement that has begun.
    begun: Option<u64>,
    /// Only white space since the last line break.
    line_start: bool,
    /// Offset of the first byte that was not consumed.
    position: u64,
    /// The bytes from there on: too few to know what they are.
    tail: Vec<u8>,
}

/// The result of one step at the bytes of its index.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Step {
    /// Consumed up to this index.
    To(usize),
    /// Nothing that this step is for.
    Other,
    More,
}

impl Default for Lexer {
    fn default() -> Self {
        Self {
            quoting: Quoting::default(),
            delimiter: b";".to_vec(),
            marks: Marks::new(b";"),
            place: Place::Code,
            mode: Mode::Tokens,
            depth: 0,
            rows: 0,
            conditionals: 0,
            in_comment: InComment::No,
            before: 0,
            begun: None,
            line_start: true,
            position: 0,
            tail: Vec::new(),
        }
    }
}

impl Lexer {
    /// Offset up to which the sink has heard everything.
    pub fn position(&self) -> u64 {
        self.position
    }

    pub fn feed(&mut self, block: &[u8], sink: &mut impl Sink) {
        let mut from = 0;
        while !self.tail.is_empty() && from < block.len() {
            let mut joined = std::mem::take(&mut self.tail);
            let (old, to) = (joined.len(), block.len().min(from + JOINED_BYTES));
            joined.extend_from_slice(&block[from..to]);
            let used = self.lex(Data { bytes: &joined, rest: Rest::MayFollow }, sink);
            if used >= old {
                from += used - old;
                joined.clear();
            } else {
                from = to;
                joined.drain(..used);
            }
            self.tail = joined;
        }
        if from < block.len() {
            let used = self.lex(Data { bytes: &block[from..], rest: Rest::MayFollow }, sink);
            self.tail.extend_from_slice(&block[from + used..]);
        }
    }

    /// Says that the stream has ended.
    pub fn finish(&mut self, sink: &mut impl Sink) {
        let tail = std::mem::take(&mut self.tail);
        self.lex(Data { bytes: &tail, rest: Rest::None }, sink);
        let cut = match self.place {
            Place::Quoted(_) => Inside::String,
            Place::BlockComment | Place::SkippedComment | Place::InnerComment => Inside::Comment,
            _ if self.begun.is_none() => return,
            _ => Inside::Statement,
        };
        self.begin(sink);
        let start = self.begun.take().expect("it has just begun at the latest");
        sink.end(&StatementEnd { start, at: self.position, next: self.position, rows: self.rows, cut: Some(cut) });
    }

    /// How many of the bytes were consumed: all, or all but the last few, about which more must be known.
    fn lex(&mut self, data: Data<'_>, sink: &mut impl Sink) -> usize {
        let mut at = 0;
        while at < data.bytes.len() {
            let step = match self.place {
                Place::Code if self.mode == Mode::Rows && self.depth > 0 => self.rows(data, at, sink),
                Place::Code => self.code(data, at, sink),
                Place::LineComment => self.line_comment(data.bytes, at),
                Place::BlockComment => self.block_comment(data, at),
                Place::SkippedComment | Place::InnerComment => self.skipped_comment(data, at, sink),
                Place::Quoted(quote) => self.quoted_rest(data, at, quote),
                Place::Word => self.word_rest(data, at),
            };
            match step {
                Step::To(next) => {
                    if self.quoting.encoding == Encoding::Ambiguous {
                        self.look_at_characters(&data.bytes[at..next], sink);
                    }
                    self.position += (next - at) as u64;
                    at = next;
                }
                Step::Other | Step::More => break,
            }
        }
        at
    }

    /// The client, which reads UTF-8, and the server would find the end of a string at different places.
    fn look_at_characters(&mut self, bytes: &[u8], sink: &mut impl Sink) {
        for byte in bytes {
            if self.before >= 0x80 && matches!(byte, b'\\' | b'`') && self.begun.is_some() {
                sink.unclear();
            }
            self.before = *byte;
        }
    }

    fn begin(&mut self, sink: &mut impl Sink) {
        if self.begun.is_none() {
            self.begun = Some(self.position);
            sink.begin(self.position);
        }
        self.line_start = false;
    }

    /// The delimiter at this index ends the statement.
    fn end(&mut self, at: usize, sink: &mut impl Sink) -> Step {
        self.begin(sink);
        if self.in_comment == InComment::MayRun {
            sink.unclear();
        }
        let start = self.begun.take().expect("it has just begun at the latest");
        let next = self.position + self.delimiter.len() as u64;
        self.quoting = sink.end(&StatementEnd { start, at: self.position, next, rows: self.rows, cut: None });
        self.mode = Mode::Tokens;
        self.depth = 0;
        self.rows = 0;
        self.conditionals = 0;
        self.in_comment = InComment::No;
        self.before = 0;
        Step::To(at + self.delimiter.len())
    }

    fn line_comment(&mut self, bytes: &[u8], at: usize) -> Step {
        match memchr::memchr(b'\n', &bytes[at..]) {
            Some(length) => {
                self.place = Place::Code;
                self.line_start = true;
                Step::To(at + length + 1)
            }
            None => Step::To(bytes.len()),
        }
    }

    fn block_comment(&mut self, data: Data<'_>, at: usize) -> Step {
        let Some(star) = memchr::memchr(b'*', &data.bytes[at..]).map(|found| at + found) else {
            return Step::To(data.bytes.len());
        };
        match data.byte(star + 1) {
            Known::Yes(Some(b'/')) => {
                self.place = Place::Code;
                Step::To(star + 2)
            }
            Known::Yes(_) | Known::No => Step::To(star + 1),
            Known::NotYet if star > at => Step::To(star),
            Known::NotYet => Step::More,
        }
    }

    /// A comment between the bytes of one that no server runs does not end it. The client runs its own command `\C` there.
    fn skipped_comment(&mut self, data: Data<'_>, at: usize, sink: &mut impl Sink) -> Step {
        let Some(found) = memchr::memchr3(b'*', b'/', b'\\', &data.bytes[at..]).map(|found| at + found) else {
            return Step::To(data.bytes.len());
        };
        if found > at {
            return Step::To(found);
        }
        let Known::Yes(second) = data.byte(at + 1) else { return Step::More };
        self.place = match (data.bytes[at], second, self.place) {
            (b'*', Some(b'/'), Place::InnerComment) => Place::SkippedComment,
            (b'*', Some(b'/'), _) => Place::Code,
            (b'/', Some(b'*'), Place::SkippedComment) => Place::InnerComment,
            (b'\\', Some(b'C'), _) => {
                self.emit(self.token(TokenKind::Symbol, b"\\"), sink);
                return Step::To(at + 1);
            }
            _ => return Step::To(at + 1),
        };
        Step::To(at + 2)
    }

    fn word_rest(&mut self, data: Data<'_>, at: usize) -> Step {
        match self.word_end(data, at) {
            Known::Yes(end) => {
                self.place = Place::Code;
                Step::To(end)
            }
            Known::No | Known::NotYet if data.bytes.len() > at + self.delimiter.len() => {
                Step::To(data.bytes.len() - self.delimiter.len())
            }
            Known::No | Known::NotYet => Step::More,
        }
    }

    /// Where the word that goes on at `at` ends: before the first byte of another kind, or before a delimiter.
    fn word_end(&self, data: Data<'_>, at: usize) -> Known<usize> {
        let mut end = at;
        while let Some(byte) = data.bytes.get(end) {
            if !is_word(*byte) {
                return Known::Yes(end);
            }
            if self.delimiter.first() == Some(byte) {
                match data.starts_with(end, &self.delimiter) {
                    Known::Yes(()) => return Known::Yes(end),
                    Known::No => {}
                    Known::NotYet => return Known::NotYet,
                }
            }
            end += 1;
        }
        match data.rest {
            Rest::None => Known::Yes(end),
            Rest::MayFollow => Known::NotYet,
        }
    }
}
