//! Makes the output of a foreign program fit to be shown: it removes secrets and escapes control characters. It does
//! not shorten; the output is bounded where it is collected.

use std::fmt::Write;

use secrecy::{ExposeSecret, SecretString};

const MASK: &str = "[redacted]";

/// Shorter secrets are not removed: they would blank half of every message and could be guessed anyway.
const SHORTEST: usize = 4;

/// Replaces every occurrence of a secret, also in the form an option file or an SQL text gives it.
pub(super) fn redact(text: &str, secrets: &[SecretString]) -> String {
    let mut forms: Vec<String> = secrets
        .iter()
        .map(|secret| secret.expose_secret().to_owned())
        .filter(|secret| secret.len() >= SHORTEST)
        .flat_map(|secret| [secret.replace('\\', "\\\\").replace('\'', "\\'"), secret.replace('\'', "''"), secret])
        .collect();
    forms.sort_by_key(|form| std::cmp::Reverse(form.len()));
    forms.iter().fold(text.to_owned(), |text, form| text.replace(form.as_str(), MASK))
}

/// Escapes control characters, so that a child cannot forge log lines or colour a terminal. Newlines are kept
/// as the two characters `\n`.
#[must_use]
pub fn escape(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for character in text.chars() {
        match character {
            '\n' => escaped.push_str("\\n"),
            '\t' => escaped.push(' '),
            // Direction overrides change the order in which a line is read.
            '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}' => {
                let _ = write!(escaped, "\\u{{{:x}}}", u32::from(character));
            }
            other if other.is_control() => {
                let _ = write!(escaped, "\\u{{{:x}}}", u32::from(other));
            }
            other => escaped.push(other),
        }
    }
    escaped
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_secret_is_redacted_in_each_of_its_forms() {
        let secrets = [SecretString::from("pa'ss\\word"), SecretString::from("abc")];
        let text = redact("x pa'ss\\word y pa\\'ss\\\\word z pa''ss\\word abc", &secrets);
        assert_eq!(text, "x [redacted] y [redacted] z [redacted] abc");
    }

    #[test]
    fn control_characters_cannot_forge_a_line() {
        assert_eq!(escape("a\nb\x1b[31m\rc\u{202e}é"), "a\\nb\\u{1b}[31m\\u{d}c\\u{202e}é");
    }
}
