//! The smallest parts of a dump that have a meaning of their own.

use std::borrow::Cow;

/// Bytes of a word, name or string that are kept; the rest of a longer one is skipped.
pub(super) const TOKEN_BYTES: usize = 1024;

/// How the server reads quotes, which follows from its `sql_mode`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Quoting {
    /// `"` encloses names, not strings.
    pub ansi_quotes: bool,
    /// `\` is an ordinary character.
    pub no_backslash_escapes: bool,
    pub encoding: Encoding,
}

/// How the server reads the bytes of the stream, which follows from its `character_set_client`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) enum Encoding {
    #[default]
    Plain,
    /// The second byte of a character may look like a backslash or a quote to the client, which reads UTF-8.
    Ambiguous,
}

/// Whether servers run what stands in a comment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum InComment {
    /// It stands in no comment.
    No,
    /// Every server does.
    Runs,
    /// Only servers of a later version do.
    MayRun,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum TokenKind {
    /// A keyword, number or name without quotes.
    Word,
    /// A name in quotes.
    Name,
    String,
    /// Any other single byte.
    Symbol,
}

#[derive(Debug, Clone, Copy)]
pub(super) struct Token<'a> {
    pub kind: TokenKind,
    /// The content, without the quotes around it, escapes untouched.
    pub text: &'a [u8],
    /// The byte that encloses a name or string, else 0.
    pub quote: u8,
    /// Whether `text` is only the beginning.
    pub cut: bool,
    pub in_comment: InComment,
    /// Offset of its first byte in the stream, quotes included.
    pub start: u64,
    /// Offset behind its last byte. Behind `text` if it is cut.
    pub end: u64,
}

impl Quoting {
    /// Whether a backslash takes the next byte out of its meaning inside these quotes.
    pub fn escapes(self, quote: u8) -> bool {
        match quote {
            b'`' => false,
            b'"' if self.ansi_quotes => false,
            _ => !self.no_backslash_escapes,
        }
    }

    pub fn encloses_names(self, quote: u8) -> bool {
        quote == b'`' || (quote == b'"' && self.ansi_quotes)
    }
}

/// Replaces doubled quotes by single ones.
pub(super) fn undouble(text: &[u8], quote: u8) -> Cow<'_, [u8]> {
    if quote == 0 || memchr::memchr(quote, text).is_none() {
        return Cow::Borrowed(text);
    }
    let mut plain = Vec::with_capacity(text.len());
    let mut bytes = text.iter().copied();
    while let Some(byte) = bytes.next() {
        plain.push(byte);
        if byte == quote {
            bytes.next();
        }
    }
    Cow::Owned(plain)
}

pub(super) fn is_space(byte: u8) -> bool {
    matches!(byte, b' ' | b'\t' | b'\n' | b'\r' | 0x0B | 0x0C)
}

pub(super) fn is_word(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || byte == b'_' || byte == b'$' || byte >= 0x80
}
