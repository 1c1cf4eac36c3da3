//! The inside of a row, which is where nearly all bytes of a dump are.

use super::super::scan::{Data, StringEnd, string_end};
use super::{Lexer, Place, Sink, Step};

impl Lexer {
    /// Runs through rows until they end, or something needs a closer look.
    pub(super) fn rows(&mut self, data: Data<'_>, from: usize, sink: &mut impl Sink) -> Step {
        let bytes = data.bytes;
        let mut at = from;
        loop {
            let Some(mark) = self.marks.next(bytes, at) else { return Step::To(bytes.len()) };
            at = mark;
            let byte = bytes[at];
            match byte {
                b'\'' | b'"' | b'`' => match string_end(bytes, at + 1, byte, self.quoting.escapes(byte)) {
                    StringEnd::Closed(next) => at = next,
                    StringEnd::Open(next) => {
                        self.place = Place::Quoted(byte);
                        return Step::To(next);
                    }
                },
                b'\\' | b'@' => {
                    // A command of the client, or a variable that may become a mode of quoting.
                    sink.unclear();
                    at += 1;
                }
                b'(' => {
                    // Rows of a dump call no functions, which might write anywhere.
                    sink.unclear();
                    self.depth = self.depth.saturating_add(1);
                    at += 1;
                }
                b')' => {
                    self.depth -= 1;
                    at += 1;
                    if self.depth == 0 {
                        match self.next_row(bytes, at) {
                            Some(next) => at = next,
                            None => return Step::To(at),
                        }
                    }
                }
                b'-' | b'/' | b'*' if self.is_operator(bytes, at) => at += 1,
                // The step ends here, so that a comment or delimiter starts a step of its own and its offset is known.
                _ if at > from => return Step::To(at),
                _ => match self.special(data, at, sink) {
                    Step::Other => at += 1,
                    found => return found,
                },
            }
        }
    }

    /// Enters the next row if it follows at once; the slower way finds it otherwise.
    fn next_row(&mut self, bytes: &[u8], at: usize) -> Option<usize> {
        if self.delimiter != b";" {
            return None;
        }
        let between = bytes[at..].iter().take_while(|byte| matches!(byte, b',' | b'\n' | b' ' | b'\r')).count();
        let open = at + between;
        if between == 0 || bytes.get(open) != Some(&b'(') {
            return None;
        }
        self.rows += 1;
        self.depth = 1;
        Some(open + 1)
    }

    /// Whether this byte cannot start or end a comment, as in negative numbers.
    fn is_operator(&self, bytes: &[u8], at: usize) -> bool {
        self.delimiter.first() != bytes.get(at)
            && bytes.get(at + 1).is_some_and(|next| !matches!(next, b'-' | b'*' | b'/'))
    }
}
