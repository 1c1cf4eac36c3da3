//! Cuts the text of a file into documents, and a list into its items.

use serde::Deserialize;
use serde::de::IgnoredAny;
use serde_saphyr::Spanned;

/// A part of a text. Its first line is indented as in the whole, so columns stay.
pub(super) struct Part {
    /// Number of lines before it.
    pub line: usize,
    pub text: String,
}

impl Part {
    /// Returns the part after as many blank lines as there are lines before it, so that line numbers stay too.
    pub fn in_place(&self) -> String {
        "\n".repeat(self.line) + &self.text
    }
}

/// Cuts at document markers. Documents without content, such as those that helm prints for empty templates, are left
/// out.
pub(super) fn documents(text: &str) -> Vec<Part> {
    let mut documents = vec![Part { line: 0, text: String::new() }];
    for (number, line) in text.lines().enumerate() {
        match line.strip_prefix("---") {
            Some(rest) if rest.is_empty() || rest.starts_with([' ', '\t']) => {
                documents.push(Part { line: number, text: format!("   {rest}\n") });
            }
            _ if line.trim_end() == "..." => documents.push(Part { line: number, text: "\n".to_owned() }),
            _ => {
                if let Some(last) = documents.last_mut() {
                    last.text.push_str(line);
                    last.text.push('\n');
                }
            }
        }
    }
    documents.retain(|document| document.text.lines().any(has_content));
    documents
}

/// Whether a line is more than blank, a comment or a directive.
fn has_content(line: &str) -> bool {
    let line = line.trim_start_matches('\u{feff}').trim_start();
    !line.is_empty() && !line.starts_with(['#', '%'])
}

/// A document with `items`, such as `kind: List`.
#[derive(Deserialize)]
struct ListDocument {
    #[serde(default)]
    items: Option<Vec<Spanned<IgnoredAny>>>,
}

/// The items of a list as documents of their own; `None` if `items` is not a list.
pub(super) fn items(text: &str) -> Option<Vec<Part>> {
    let list: ListDocument = serde_saphyr::from_str(text).ok()?;
    let starts = list.items.unwrap_or_default();
    let lines: Vec<&str> = text.lines().collect();
    starts
        .iter()
        .map(|item| {
            let (line, column) = (item.referenced.line(), item.referenced.column());
            item_at(&lines, usize::try_from(line).ok()?.checked_sub(1)?, usize::try_from(column).ok()?.checked_sub(1)?)
        })
        .collect()
}

/// The item that starts at a line and a column, both from 0.
fn item_at(lines: &[&str], line: usize, column: usize) -> Option<Part> {
    let first: String = lines.get(line)?.chars().skip(column).collect();
    let mut text = " ".repeat(column);
    if first.starts_with(['{', '[']) {
        text.push_str(&flow(&first, &lines[line + 1..]));
        return Some(Part { line, text });
    }
    text.push_str(&first);
    text.push('\n');
    for line in &lines[line + 1..] {
        let indentation = line.len() - line.trim_start_matches(' ').len();
        if has_content(line) && indentation < column {
            break;
        }
        text.push_str(line);
        text.push('\n');
    }
    Some(Part { line, text })
}

/// Returns the flow collection, such as JSON, that begins with `first` and may go on in `more` lines.
fn flow(first: &str, more: &[&str]) -> String {
    let (mut text, mut depth, mut quote, mut escaped) = (String::new(), 0usize, None, false);
    for line in [first].iter().chain(more) {
        for character in line.chars() {
            text.push(character);
            match (quote, character) {
                _ if escaped => escaped = false,
                (Some('"'), '\\') => escaped = true,
                (Some(open), close) if open == close => quote = None,
                (Some(_), _) => {}
                (None, '"' | '\'') => quote = Some(character),
                (None, '{' | '[') => depth += 1,
                (None, '}' | ']') if depth == 1 => return text,
                (None, '}' | ']') => depth = depth.saturating_sub(1),
                (None, _) => {}
            }
        }
        text.push('\n');
    }
    text
}
