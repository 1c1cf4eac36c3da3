//! Removes the contents of a hook from answers and output. Servers repeat a path that they do not know, programs print
//! their arguments, and messages of sessions are published, so a token could leak that way.

use lagan_schemas::resource::hooks::HttpHeader;

use super::ready::Action;
use super::template::{TemplateData, render};

const MASK: &str = "[redacted]";
/// Shorter texts are not removed: they would blank half of every message and could be guessed anyway.
const SHORTEST: usize = 8;

/// Texts that must not be shown, the longest first.
pub(super) struct Hidden(Vec<String>);

/// The words of a text that are hidden in addition to the whole text.
#[derive(Clone, Copy)]
enum Words {
    All,
    /// Words with a digit. The other words of an argv are names of programs and files, which explain a failure.
    LikeTokens,
}

impl Hidden {
    /// Collects the contents of an action; `data` renders its templates.
    pub fn of(action: &Action, data: &TemplateData) -> Self {
        let mut hidden = Self(Vec::new());
        match action {
            // Messages show the name of the program, so only its arguments are hidden.
            Action::Exec(exec) => {
                for argument in exec.command.iter().skip(1) {
                    hidden.add(argument, Words::LikeTokens);
                    hidden.add_rendered(argument, data, Words::LikeTokens);
                }
            }
            Action::HttpGet(get) => hidden.add_request(get.path.as_deref(), &get.http_headers),
            Action::HttpPost(post) => {
                hidden.add_request(post.path.as_deref(), &post.http_headers);
                let body = post.body.as_deref().unwrap_or_default();
                hidden.add(body, Words::All);
                hidden.add_rendered(body, data, Words::All);
                for value in post.form.iter().flat_map(|entry| &entry.values) {
                    hidden.add(value, Words::All);
                }
            }
            Action::TcpSocket(_) => {}
        }
        hidden.0.sort_unstable_by(|a, b| b.len().cmp(&a.len()).then_with(|| a.cmp(b)));
        hidden.0.dedup();
        hidden
    }

    pub fn hide(&self, text: &str) -> String {
        self.0.iter().fold(text.to_owned(), |text, hidden| {
            if text.contains(hidden.as_str()) { text.replace(hidden.as_str(), MASK) } else { text }
        })
    }

    fn add_request(&mut self, path: Option<&str>, headers: &[HttpHeader]) {
        let path = path.unwrap_or_default();
        self.add(path, Words::All);
        // Servers quote the path without its query.
        self.add(path.split('?').next().unwrap_or_default(), Words::All);
        for header in headers {
            self.add(&header.value, Words::All);
        }
    }

    /// Adds the rendered text, in which a function of a template may have changed the spelling of a token.
    fn add_rendered(&mut self, text: &str, data: &TemplateData, words: Words) {
        if let Ok(rendered) = render(text, data) {
            self.add(&rendered, words);
        }
    }

    fn add(&mut self, text: &str, words: Words) {
        // These characters stay the same when a text is encoded for an address or a form.
        let parts = text.split(|c: char| !c.is_ascii_alphanumeric() && !"-_.".contains(c));
        let parts = parts.filter(|part| matches!(words, Words::All) || part.contains(|c: char| c.is_ascii_digit()));
        let long = std::iter::once(text.trim()).chain(parts).filter(|part| part.len() >= SHORTEST);
        self.0.extend(long.map(str::to_owned));
    }
}

#[cfg(test)]
mod tests {
    use lagan_schemas::resource::hooks::{ExecAction, HttpPostAction};
    use serde_json::json;

    use super::*;

    fn hide(action: &Action, text: &str) -> String {
        Hidden::of(action, &TemplateData { name: "shop-1".to_owned(), ..TemplateData::default() }).hide(text)
    }

    #[test]
    fn what_a_server_repeats_of_a_request_is_hidden() {
        let post: HttpPostAction = serde_json::from_value(json!({
            "port": 1, "path": "/services/T0ABCDEF/sekretsekret?key=abcdefgh",
            "httpHeaders": [{"name": "Authorization", "value": "Bearer abc.def-123"}],
            "body": "{\"token\": \"bodytoken\", \"of\": {{ .Name | upper | quote }}}",
            "form": [{"key": "password", "values": ["form value", "short", "form/0123abcd+z"]}],
        }))
        .expect("an action");
        let post = Action::HttpPost(post);
        for (said, shown) in [
            ("Cannot POST /services/T0ABCDEF/sekretsekret", "Cannot POST [redacted]"),
            ("no service sekretsekret of T0ABCDEF", "no service [redacted] of [redacted]"),
            ("abc.def-123: unknown; abcdefgh too", "[redacted]: unknown; [redacted] too"),
            ("bodytoken, form value, short", "[redacted], [redacted], short"),
            ("password=form%2F0123abcd%2Bz", "password=form%2F[redacted]%2Bz"),
            ("it is broken", "it is broken"),
        ] {
            assert_eq!(hide(&post, said), shown);
        }
    }

    #[test]
    fn what_a_program_prints_keeps_its_names_and_loses_what_looks_like_a_token() {
        let command = ["sh", "-c", "fsfreeze /var/lib/mysql && curl -H 'X-Key: t0ken-of-ours'", "whole argument"];
        let exec = Action::Exec(ExecAction { command: command.map(str::to_owned).to_vec() });
        assert_eq!(hide(&exec, "sh: 1: fsfreeze: not found"), "sh: 1: fsfreeze: not found");
        assert_eq!(hide(&exec, "+ curl -H X-Key: t0ken-of-ours"), "+ curl -H X-Key: [redacted]");
        assert_eq!(hide(&exec, "`whole argument`"), "`[redacted]`");
    }
}
