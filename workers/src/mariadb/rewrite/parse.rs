//! Reads the parts of statements that the rewriting needs: names in backticks, the types of columns, and addresses.

use memchr::{memchr, memchr2};

/// Whether a column holds network addresses, which mariadb-dump writes in a form that the server refuses.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Type {
    Address,
    Other,
}

pub(super) fn is_insert(line: &[u8]) -> bool {
    line.starts_with(b"INSERT ") || line.starts_with(b"REPLACE ")
}

/// The name in backticks at `start`, and where it ends.
pub(super) fn quoted(text: &[u8], start: usize) -> Option<(Vec<u8>, usize)> {
    let mut name = Vec::new();
    let mut at = start + 1;
    loop {
        let end = memchr(b'`', text.get(at..)?)? + at;
        name.extend_from_slice(&text[at..end]);
        if text.get(end + 1) != Some(&b'`') {
            return Some((name, end + 1));
        }
        name.push(b'`');
        at = end + 2;
    }
}

/// A list of names up to its closing parenthesis, and where it ends. The columns of a table's history stand in it without
/// backticks.
pub(super) fn listed(text: &[u8], mut at: usize) -> Option<(Vec<Vec<u8>>, usize)> {
    let mut names = Vec::new();
    loop {
        let (name, end) = if *text.get(at)? == b'`' {
            quoted(text, at)?
        } else {
            let end = memchr2(b',', b')', &text[at..])? + at;
            (text[at..end].to_vec(), end)
        };
        names.push(name);
        match text.get(end..end + 2)? {
            b", " => at = end + 2,
            [b')', _] => return Some((names, end + 1)),
            _ => return None,
        }
    }
}

/// The columns of a definition as mariadb-dump writes it: each on a line of its own, its name in backticks.
pub(super) fn columns(definition: &[u8]) -> Vec<(Vec<u8>, Type)> {
    let mut columns = Vec::new();
    let mut rest = definition;
    while let Some(line) = memchr(b'\n', rest) {
        rest = &rest[line + 1..];
        let Some((name, end)) = rest.strip_prefix(b"  `").and_then(|_| quoted(rest, 2)) else { continue };
        let kind = rest[end..].strip_prefix(b" ").unwrap_or_default();
        let address = ["inet6", "inet4", "uuid"].iter().any(|word| {
            let after = kind.get(word.len()).copied().unwrap_or(b' ');
            kind.starts_with(word.as_bytes()) && !after.is_ascii_alphanumeric()
        });
        columns.push((name, if address { Type::Address } else { Type::Other }));
        // A name may hold line breaks.
        rest = &rest[end..];
    }
    columns
}

/// The text of an address that is written as `0x…`.
pub(super) fn address(value: &[u8]) -> Option<Vec<u8>> {
    let digits = value.strip_prefix(b"0x")?;
    let mut text = vec![b'\''];
    for pair in digits.chunks(2) {
        let byte = u8::from_str_radix(std::str::from_utf8(pair).ok()?, 16).ok()?;
        if !(byte.is_ascii_hexdigit() || b":.-".contains(&byte)) {
            return None;
        }
        text.push(byte);
    }
    text.push(b'\'');
    Some(text)
}
