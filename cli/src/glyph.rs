//! Glyphs and their colours. A colour never carries meaning alone: a glyph and a word stand beside it. It must not know
//! resources.

use std::fmt::Write as _;

use anstyle::{AnsiColor, Style};

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Glyph {
    Pending,
    Running,
    Succeeded,
    Skipped,
    Warning,
    Failed,
    /// An action begins.
    Action,
    /// The command waits for something.
    Waiting,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Glyphs {
    Unicode,
    Ascii,
}

impl Glyph {
    /// The glyphs that have a colour.
    const STATES: [Self; 6] =
        [Self::Pending, Self::Running, Self::Succeeded, Self::Skipped, Self::Warning, Self::Failed];

    /// The glyph for a word of a status; `None` if the word is no state.
    #[must_use]
    pub fn of_phase(phase: &str) -> Option<Self> {
        Some(match phase {
            "Pending" => Self::Pending,
            "Running" => Self::Running,
            "Succeeded" | "Ready" | "Found" => Self::Succeeded,
            "Skipped" | "Paused" => Self::Skipped,
            "NotReady" | "Unknown" => Self::Warning,
            "Failed" | "Invalid" | "Missing" => Self::Failed,
            _ => return None,
        })
    }

    const fn style(self) -> Style {
        let colour = match self {
            Self::Pending | Self::Warning => AnsiColor::Yellow,
            Self::Running => AnsiColor::Cyan,
            Self::Succeeded => AnsiColor::Green,
            Self::Skipped => return Style::new().dimmed(),
            Self::Failed => AnsiColor::Red,
            Self::Action | Self::Waiting => return Style::new(),
        };
        colour.on_default()
    }
}

impl Glyphs {
    #[must_use]
    pub const fn of(self, state: Glyph) -> &'static str {
        match (self, state) {
            (Self::Unicode, Glyph::Pending) => "◷",
            (Self::Unicode, Glyph::Running) => "●",
            (Self::Unicode, Glyph::Succeeded) => "✔",
            (Self::Unicode, Glyph::Skipped) => "○",
            (Self::Unicode, Glyph::Warning) => "‼",
            (Self::Unicode, Glyph::Failed) => "✖",
            (Self::Unicode, Glyph::Action) => "►",
            (Self::Unicode, Glyph::Waiting) => "◎",
            (Self::Ascii, Glyph::Pending | Glyph::Waiting) => "..",
            (Self::Ascii, Glyph::Action) => "->",
            (Self::Ascii, Glyph::Running) => ">>",
            (Self::Ascii, Glyph::Succeeded) => "OK",
            (Self::Ascii, Glyph::Skipped) => "--",
            (Self::Ascii, Glyph::Warning) => "!!",
            (Self::Ascii, Glyph::Failed) => "XX",
        }
    }

    /// The placeholder for an absent value.
    #[must_use]
    pub const fn nothing(self) -> &'static str {
        match self {
            Self::Unicode => "—",
            Self::Ascii => "-",
        }
    }

    /// The separator between two items.
    #[must_use]
    pub const fn dot(self) -> &'static str {
        match self {
            Self::Unicode => "·",
            Self::Ascii => "|",
        }
    }

    /// A phase with its glyph, as `✔ Succeeded`.
    #[must_use]
    pub fn phase(self, phase: &str) -> String {
        match Glyph::of_phase(phase) {
            Some(state) => format!("{} {phase}", self.of(state)),
            None if phase.is_empty() => self.nothing().to_owned(),
            None => phase.to_owned(),
        }
    }

    /// Colours the states in a finished text: `glyph Word` anywhere, and a glyph at the start of a line.
    #[must_use]
    pub fn paint(self, text: &str) -> String {
        let mut painted = String::with_capacity(text.len() + 64);
        for line in text.split_inclusive('\n') {
            self.paint_line(line, &mut painted);
        }
        painted
    }

    fn paint_line(self, line: &str, out: &mut String) {
        let Some((start, length, state)) = Glyph::STATES.into_iter().find_map(|s| self.find(line, s)) else {
            out.push_str(line);
            return;
        };
        let style = state.style();
        let (before, rest) = line.split_at(start);
        let (what, after) = rest.split_at(length);
        // Writing to a String can't fail.
        let _ = write!(out, "{before}{style}{what}{style:#}{after}");
    }

    fn find(self, line: &str, state: Glyph) -> Option<(usize, usize, Glyph)> {
        let glyph = self.of(state);
        if line.strip_prefix(glyph).is_some_and(|rest| rest.starts_with(' ') && !rest.starts_with("  ")) {
            return Some((0, glyph.len(), state));
        }
        let needle = format!(" {glyph} ");
        let start = line.find(&needle)? + 1;
        let word = &line[start + glyph.len() + 1..];
        let length = word.find(|c: char| !c.is_ascii_alphabetic()).unwrap_or(word.len());
        Glyph::of_phase(&word[..length]).map(|_| (start, glyph.len() + 1 + length, state))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_painted_text_is_the_same_without_its_colours() {
        let text = "NAME  PHASE\na     ✔ Succeeded  1m\nb     ✖ Failed  boom\n✔ committed snapshot 1a2b\n";
        let painted = Glyphs::Unicode.paint(text);
        assert!(painted.contains("\u{1b}[32m✔ Succeeded\u{1b}[0m"), "{painted:?}");
        assert!(painted.contains("\u{1b}[31m✖ Failed\u{1b}[0m") && painted.contains("\u{1b}[32m✔\u{1b}[0m committed"));
        assert_eq!(anstream::adapter::strip_str(&painted).to_string(), text);
    }

    #[test]
    fn ascii_words_in_a_message_are_not_taken_for_glyphs() {
        let text = "it is OK to fail -- XX marks the spot\n";
        assert_eq!(Glyphs::Ascii.paint(text), text);
        assert_ne!(Glyphs::Ascii.paint("a  OK Succeeded\n"), "a  OK Succeeded\n");
    }
}
