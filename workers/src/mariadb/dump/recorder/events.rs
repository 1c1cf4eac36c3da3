//! Reads from the definition of an event when its time is over.

use super::super::record::EventEnd;
use super::super::token::{Token, TokenKind};

const TEXT_BYTES: usize = 64;

/// Goes through the tokens of one definition.
#[derive(Debug, Default)]
pub(super) struct EventClock {
    place: Place,
    /// The last word, if it decides what the next token means.
    last: Word,
    at: Option<String>,
    is_preserved: bool,
}

#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
enum Place {
    #[default]
    Name,
    Schedule,
    Body,
}

#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
enum Word {
    #[default]
    Other,
    /// `AT` or `ENDS`, before a moment.
    Moment,
    Not,
}

impl EventClock {
    pub fn clear(&mut self) {
        *self = Self::default();
    }

    pub fn token(&mut self, token: &Token<'_>) {
        let is = |word: &str| token.kind == TokenKind::Word && token.is(word);
        match self.place {
            Place::Name if is("SCHEDULE") => self.place = Place::Schedule,
            Place::Schedule if is("DO") => self.place = Place::Body,
            Place::Schedule => {
                if self.last == Word::Moment && token.kind == TokenKind::String && token.text.len() < TEXT_BYTES {
                    self.at = Some(String::from_utf8_lossy(token.text).into_owned());
                }
                self.is_preserved |= is("PRESERVE") && self.last != Word::Not;
                self.last = match () {
                    () if is("AT") || is("ENDS") => Word::Moment,
                    () if is("NOT") => Word::Not,
                    () => Word::Other,
                };
            }
            Place::Name | Place::Body => {}
        }
    }

    /// The moment from which on a server does not create the event; nothing if it always does.
    pub fn end(&self, zone: Option<&str>) -> Option<EventEnd> {
        let at = self.at.clone().filter(|_| !self.is_preserved)?;
        Some(EventEnd { at, zone: zone.map(str::to_owned) })
    }
}
