//! Everything outside of rows and strings.

use super::super::scan::{Data, Known, Marks, Rest};
use super::super::token::{InComment, TOKEN_BYTES, Token, TokenKind, is_space, is_word};
use super::{Comment, CommentEnding, Lexer, Mode, Place, Sink, Step};

/// Bytes of a comment between statements, and of a `DELIMITER` command, that are kept.
const LINE_BYTES: usize = 1024;
const COMMAND: &[u8] = b"delimiter";

/// The two kinds of comments that start with `/*`.
enum BlockComment {
    /// After so many bytes follows what a server runs if it is new enough.
    Executable(usize, InComment),
    /// For versions that no server has.
    Skipped,
    Plain,
}

/// Servers before this version are none that anything is restored into.
const OLDEST: u32 = 100_000;
/// Versions of MySQL that no MariaDB runs, unless the comment is for MariaDB.
const OF_MYSQL: std::ops::RangeInclusive<u32> = 50_700..=99_999;

impl Lexer {
    pub(super) fn code(&mut self, data: Data<'_>, at: usize, sink: &mut impl Sink) -> Step {
        let byte = data.bytes[at];
        if is_space(byte) {
            return Step::To(self.spaces(data.bytes, at));
        }
        match self.special(data, at, sink) {
            Step::Other => {}
            found => return found,
        }
        if self.begun.is_none() && self.line_start {
            match data.starts_with_word(at, COMMAND) {
                Known::Yes(()) => return self.command(data, at, sink),
                Known::No => {}
                Known::NotYet => return Step::More,
            }
        }
        match byte {
            b'\'' | b'"' | b'`' => self.quoted(data, at, sink),
            b'(' if self.mode == Mode::Rows => {
                self.rows += 1;
                self.depth = 1;
                Step::To(at + 1)
            }
            b',' if self.mode == Mode::Rows => Step::To(at + 1),
            _ if is_word(byte) => self.word(data, at, sink),
            _ => {
                self.emit(self.token(TokenKind::Symbol, &data.bytes[at..=at]), sink);
                Step::To(at + 1)
            }
        }
    }

    fn spaces(&mut self, bytes: &[u8], mut at: usize) -> usize {
        while let Some(byte) = bytes.get(at).filter(|byte| is_space(**byte)) {
            self.line_start |= *byte == b'\n';
            at += 1;
        }
        at
    }

    /// Delimiters and comments.
    pub(super) fn special(&mut self, data: Data<'_>, at: usize, sink: &mut impl Sink) -> Step {
        match data.starts_with(at, &self.delimiter) {
            Known::Yes(()) => return self.end(at, sink),
            Known::No => {}
            Known::NotYet => return Step::More,
        }
        match data.bytes[at] {
            b'#' => self.start_line_comment(data, at, sink),
            b'-' => match (data.byte(at + 1), data.byte(at + 2)) {
                (Known::Yes(Some(b'-')), Known::Yes(third)) => {
                    let apart = third.is_none_or(|third| third <= b' ' || third == 0x7F);
                    // At the start of a statement the client needs no space.
                    if apart || self.begun.is_none() { self.start_line_comment(data, at, sink) } else { Step::Other }
                }
                (Known::NotYet, _) | (Known::Yes(Some(b'-')), Known::NotYet) => Step::More,
                _ => Step::Other,
            },
            b'/' => match data.byte(at + 1) {
                Known::Yes(Some(b'*')) => self.start_block_comment(data, at, sink),
                Known::NotYet => Step::More,
                _ => Step::Other,
            },
            b'*' if self.conditionals > 0 => match data.byte(at + 1) {
                Known::Yes(Some(b'/')) => {
                    self.conditionals -= 1;
                    if self.conditionals == 0 {
                        self.in_comment = InComment::No;
                    }
                    Step::To(at + 2)
                }
                Known::NotYet => Step::More,
                _ => Step::Other,
            },
            _ => Step::Other,
        }
    }

    fn start_line_comment(&mut self, data: Data<'_>, at: usize, sink: &mut impl Sink) -> Step {
        if self.begun.is_some() {
            if self.in_comment == InComment::MayRun {
                sink.unclear();
            }
            self.place = Place::LineComment;
            return Step::To(at + 1);
        }
        let line = &data.bytes[at..data.bytes.len().min(at + LINE_BYTES)];
        let start = self.position;
        if let Some(length) = memchr::memchr(b'\n', line) {
            self.line_start = true;
            sink.comment(&Comment { start, text: &line[..length], ending: CommentEnding::Line });
            return Step::To(at + length + 1);
        }
        let ending = match data.byte(at + LINE_BYTES - 1) {
            Known::Yes(Some(_)) => CommentEnding::Later,
            Known::Yes(None) => CommentEnding::Stream,
            Known::No | Known::NotYet => return Step::More,
        };
        sink.comment(&Comment { start, text: line, ending });
        self.place = Place::LineComment;
        Step::To(at + line.len())
    }

    fn start_block_comment(&mut self, data: Data<'_>, at: usize, sink: &mut impl Sink) -> Step {
        let Some(comment) = block_comment(data, at) else { return Step::More };
        if self.in_comment == InComment::MayRun {
            // A server that does not run it ends it at another place.
            sink.unclear();
        }
        match comment {
            BlockComment::Executable(length, in_comment) => {
                self.begin(sink);
                if self.mode == Mode::Rows && in_comment == InComment::MayRun {
                    sink.unclear();
                }
                if self.conditionals == 0 {
                    self.in_comment = in_comment;
                }
                self.conditionals += 1;
                return Step::To(at + length);
            }
            BlockComment::Skipped => self.place = Place::SkippedComment,
            BlockComment::Plain => self.place = Place::BlockComment,
        }
        if self.begun.is_none() {
            sink.comment(&Comment { start: self.position, text: b"", ending: CommentEnding::Later });
        }
        Step::To(at + 2)
    }

    /// A line that starts with `DELIMITER`, all of which is the client's.
    fn command(&mut self, data: Data<'_>, at: usize, sink: &mut impl Sink) -> Step {
        let line = &data.bytes[at..data.bytes.len().min(at + LINE_BYTES)];
        let line = match (memchr::memchr(b'\n', line), data.byte(at + LINE_BYTES - 1)) {
            (Some(length), _) => &line[..length],
            (None, Known::Yes(_)) => line,
            (None, Known::No | Known::NotYet) => return Step::More,
        };
        let argument = argument(line);
        sink.delimiter(self.position, argument);
        if let Some(argument) = argument {
            self.delimiter = argument.to_vec();
            self.marks = Marks::new(&self.delimiter);
        }
        self.place = Place::LineComment;
        Step::To(at + line.len())
    }

    fn word(&mut self, data: Data<'_>, at: usize, sink: &mut impl Sink) -> Step {
        // Beyond these bytes it makes no difference where the word ends.
        let room = at + TOKEN_BYTES + self.delimiter.len();
        let window = match data.bytes.get(..room) {
            Some(bytes) => Data { bytes, rest: Rest::MayFollow },
            None => data,
        };
        let end = match self.word_end(window, at) {
            Known::Yes(end) => end,
            Known::No | Known::NotYet if window.bytes.len() == room => room,
            Known::No | Known::NotYet => return Step::More,
        };
        let cut = end - at > TOKEN_BYTES;
        let end = end.min(at + TOKEN_BYTES);
        if cut {
            self.place = Place::Word;
        }
        self.emit(Token { cut, ..self.token(TokenKind::Word, &data.bytes[at..end]) }, sink);
        Step::To(end)
    }

    pub(super) fn token<'a>(&self, kind: TokenKind, text: &'a [u8]) -> Token<'a> {
        let end = self.position + text.len() as u64;
        Token { kind, text, quote: 0, cut: false, in_comment: self.in_comment, start: self.position, end }
    }

    pub(super) fn emit(&mut self, token: Token<'_>, sink: &mut impl Sink) {
        self.begin(sink);
        self.mode = sink.token(&token);
        // A server that does not run the comment would end it there.
        let is_end = token.cut || memchr::memmem::find(token.text, b"*/").is_some();
        if token.in_comment == InComment::MayRun && is_end {
            sink.unclear();
        }
    }
}

/// Looks at the `/*` at this index; nothing if more bytes are needed.
fn block_comment(data: Data<'_>, at: usize) -> Option<BlockComment> {
    let byte = |at| match data.byte(at) {
        Known::Yes(byte) => Some(byte),
        Known::No | Known::NotYet => None,
    };
    let (of_mariadb, digits_at) = match byte(at + 2)? {
        Some(b'!') => (false, at + 3),
        Some(b'M') if byte(at + 3)? == Some(b'!') => (true, at + 4),
        _ => return Some(BlockComment::Plain),
    };
    let mut end = digits_at;
    while end < digits_at + 6 && byte(end)?.is_some_and(|byte| byte.is_ascii_digit()) {
        end += 1;
    }
    let digits = &data.bytes[digits_at..end];
    if digits.len() < 5 {
        // Fewer digits are no version.
        return Some(BlockComment::Executable(digits_at - at, InComment::Runs));
    }
    let version = digits.iter().fold(0, |version, digit| version * 10 + u32::from(digit - b'0'));
    Some(match version {
        // mariadb-dump hides client commands behind it.
        999_990.. => BlockComment::Skipped,
        version if OF_MYSQL.contains(&version) && !of_mariadb => BlockComment::Skipped,
        ..=OLDEST => BlockComment::Executable(end - at, InComment::Runs),
        _ => BlockComment::Executable(end - at, InComment::MayRun),
    })
}

/// The delimiter that a command sets, if the client takes it.
fn argument(line: &[u8]) -> Option<&[u8]> {
    let command_end = line.iter().position(|byte| matches!(byte, b' ' | b'\t'))?;
    let rest = line[command_end..].trim_ascii_start();
    let argument = match rest.first()? {
        quote @ (b'\'' | b'"' | b'`') => rest[1..].split(|byte| byte == quote).next()?,
        _ => rest.split(|byte| is_space(*byte)).next()?,
    };
    let usable = !argument.is_empty() && !argument.contains(&b'\\');
    // The client keeps so many bytes of it.
    usable.then(|| &argument[..argument.len().min(15)])
}
