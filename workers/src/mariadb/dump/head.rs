//! The first tokens of a statement, kept until it is known what the statement is.

use super::token::{InComment, Token, TokenKind, undouble};

const TOKENS: usize = 64;
const TEXT_BYTES: usize = 16 * 1024;

#[derive(Debug, Default)]
pub(super) struct Head {
    text: Vec<u8>,
    tokens: Vec<Kept>,
}

#[derive(Debug, Clone, Copy)]
struct Kept {
    kind: TokenKind,
    quote: u8,
    cut: bool,
    in_comment: InComment,
    text: (usize, usize),
    start: u64,
    end: u64,
}

impl Head {
    pub fn clear(&mut self) {
        self.text.clear();
        self.tokens.clear();
    }

    pub fn push(&mut self, token: &Token<'_>) {
        let start = self.text.len();
        self.text.extend_from_slice(token.text);
        self.tokens.push(Kept {
            kind: token.kind,
            quote: token.quote,
            cut: token.cut,
            in_comment: token.in_comment,
            text: (start, self.text.len()),
            start: token.start,
            end: token.end,
        });
    }

    pub fn is_full(&self) -> bool {
        self.tokens.len() >= TOKENS || self.text.len() >= TEXT_BYTES
    }

    pub fn len(&self) -> usize {
        self.tokens.len()
    }

    pub fn has_symbol(&self, symbol: u8) -> bool {
        (0..self.tokens.len()).filter_map(|index| self.get(index)).any(|token| token.is_symbol(symbol))
    }

    pub fn get(&self, index: usize) -> Option<Token<'_>> {
        self.tokens.get(index).map(|kept| Token {
            kind: kept.kind,
            text: &self.text[kept.text.0..kept.text.1],
            quote: kept.quote,
            cut: kept.cut,
            in_comment: kept.in_comment,
            start: kept.start,
            end: kept.end,
        })
    }

    pub fn tokens(&self) -> impl Iterator<Item = Token<'_>> {
        (0..self.len()).filter_map(|index| self.get(index))
    }

    /// The name that this token is, without its quotes.
    pub fn name(&self, index: usize) -> Vec<u8> {
        self.get(index).map(|token| undouble(token.text, token.quote).into_owned()).unwrap_or_default()
    }

    /// The beginning of the statement for people: its tokens with single spaces, at most so many bytes.
    pub fn shown(&self, bytes: usize) -> String {
        let mut shown = Vec::new();
        for token in self.tokens() {
            if shown.len() >= bytes {
                break;
            }
            // Content of strings may be somebody's data.
            let text: &[u8] = if token.kind == TokenKind::String { b"\xE2\x80\xA6" } else { token.text };
            let tight = matches!(token.text, b"." | b"," | b")" | b"@" | b"=") || shown.ends_with(b".");
            let tight = tight || shown.ends_with(b"(") || shown.ends_with(b"@") || shown.ends_with(b"=");
            if !shown.is_empty() && !tight {
                shown.push(b' ');
            }
            shown.extend(std::iter::once(token.quote).filter(|quote| *quote != 0));
            shown.extend_from_slice(&text[..text.len().min(bytes)]);
            shown.extend(std::iter::once(token.quote).filter(|quote| *quote != 0));
        }
        let cut = shown.len() > bytes;
        shown.truncate(bytes);
        let shown = crate::process::escape(&String::from_utf8_lossy(&shown));
        if cut { format!("{shown}…") } else { shown }
    }
}
