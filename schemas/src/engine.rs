//! Database engines as data. The documents are built in: a user's YAML can't add one or loosen a rule of one.
//! The workers hold the code that an engine needs beyond this data.

use std::collections::BTreeMap;

use serde::Deserialize;

use crate::error::Code;
use crate::plan::TlsMode;

/// Everything about a database engine that is data.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Engine {
    /// The value of `database` in a Function.
    pub name: String,
    /// Types of AppBindings that it answers to, without their group: `mariadb` for `kubedb.com/mariadb`.
    pub types: Vec<String>,
    /// The port of an AppBinding that names none.
    pub port: u16,
    pub tasks: Tasks,
    pub programs: Programs,
    #[serde(default)]
    pub last_line: LastLine,
    /// The text before the number of the line that the client names when a statement fails.
    pub at_line: String,
    /// Meanings of the lines that its programs write to standard error; the first that fits counts.
    #[serde(default)]
    pub errors: Vec<ErrorRule>,
    /// Options that an engine forces and forbids, by the program that takes them.
    #[serde(default)]
    pub options: Vec<OptionRules>,
    /// How the client asks, and what needs no code to be asked.
    #[serde(default)]
    pub queries: Queries,
    /// How its programs get their login, if it is by environment and files.
    pub login: Option<Login>,
    /// How its programs get their login, if it is by an option file.
    pub option_file: Option<OptionFile>,
}

/// The Tasks of a target whose AppBinding and invoker name none.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Tasks {
    pub backup: String,
    pub restore: String,
}

#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Programs {
    /// The program that asks the server questions.
    pub client: String,
    /// Further programs that a worker may run.
    #[serde(default)]
    pub others: Vec<String>,
}

/// How a program gets the address and login of its server. Nothing secret stands in a variable.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Login {
    /// Environment variables with a part of the login.
    pub variables: BTreeMap<String, LoginVariable>,
    /// Environment variables with a fixed value.
    #[serde(default)]
    pub constants: BTreeMap<String, String>,
    /// Environment variables with the path of a file that exists in memory only.
    pub files: BTreeMap<String, TlsFile>,
    pub password: PasswordLine,
    pub tls: TlsWords,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum LoginVariable {
    /// The name that the server's certificate bears.
    Host,
    /// The address to connect to, where it is not that name.
    Address,
    Port,
    User,
    Database,
    /// One of `TlsWords`.
    Tls,
}

/// A file that a client reads for TLS.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum TlsFile {
    /// Certificates of the authorities that are trusted.
    Authorities,
    /// The client's certificate.
    Certificate,
    /// The client's key.
    Key,
}

/// A file of one line with the password, which exists in memory only.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct PasswordLine {
    /// The environment variable with its path.
    pub variable: String,
    /// The text before the password.
    pub start: String,
    /// Characters of the password that get a backslash.
    pub escaped: String,
}

/// The words of a client for the TLS modes.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct TlsWords {
    pub disabled: String,
    pub preferred: String,
    pub required: String,
    pub verify_ca: String,
    pub verify_identity: String,
}

/// An option file with the address and login of a server. It exists in memory only.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct OptionFile {
    /// The first argument of a program, up to the path of the file.
    pub argument: String,
    /// The lines before all others.
    pub lines: Vec<String>,
    /// Names of options.
    pub host: String,
    pub port: String,
    pub user: String,
    pub password: String,
    /// Bytes of the longest value that its parser takes.
    pub longest_value: usize,
    pub tls: TlsOptions,
}

/// The options of a client for the TLS modes. Of several forms the first that the client is new enough for counts.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct TlsOptions {
    pub disabled: Vec<TlsForm>,
    pub preferred: Vec<TlsForm>,
    pub required: Vec<TlsForm>,
    pub verify_ca: Vec<TlsForm>,
    pub verify_identity: Vec<TlsForm>,
}

#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct TlsForm {
    /// The first version of the client that takes it.
    #[serde(default)]
    pub since: [u16; 3],
    pub lines: Vec<String>,
    /// Options with the path of a file that exists in memory only, if there is one to give.
    #[serde(default)]
    pub files: BTreeMap<String, TlsFile>,
}

/// The last line of a complete stream. Without any text, the engine's code knows the end.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct LastLine {
    /// Texts, one of which is the whole line.
    pub whole: Vec<String>,
    /// Texts, with one of which the line starts.
    pub starts: Vec<String>,
}

/// The meaning of a line of standard error.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ErrorRule {
    /// Numbers of errors, one of which the line names. Without any, the line must not name a number: the prose beside one
    /// may be in another language, or hold names that people chose.
    #[serde(default)]
    pub numbers: Vec<u32>,
    /// Texts, one of which the line contains.
    #[serde(default)]
    pub contains: Vec<String>,
    /// `None` if the failure has no code of its own.
    #[serde(default)]
    pub code: Option<Code>,
    pub hint: String,
    /// Whether it may pass by itself, so that a server that is waited for is asked again.
    #[serde(default)]
    pub passes: bool,
}

/// Rules for the options that a user may add to a program's arguments.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct OptionRules {
    pub program: String,
    /// Arguments of every run.
    #[serde(default)]
    pub forced: Vec<String>,
    /// Options that a user may give; any other is refused.
    #[serde(default)]
    pub allowed: Vec<AllowedOption>,
    /// Options that are refused with a reason. A name of one letter is the short form of the name before it.
    #[serde(default)]
    pub forbidden: Vec<ForbiddenOption>,
    /// How many names may stand beside the options, unless the engine's code judges them.
    #[serde(default)]
    pub names: usize,
}

#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct AllowedOption {
    pub name: String,
    #[serde(default)]
    pub short: Option<char>,
    #[serde(default)]
    pub value: OptionValue,
    /// Whether it leaves out a part of what a stream would hold.
    #[serde(default)]
    pub leaves_out: bool,
    /// Why it can't be switched off, if it is always on.
    #[serde(default)]
    pub always_on: Option<String>,
    /// The value without which it is refused.
    #[serde(default)]
    pub only: Option<OnlyValue>,
}

#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct OnlyValue {
    pub value: String,
    pub reason: String,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum OptionValue {
    #[default]
    None,
    /// In the next argument or after `=`.
    Required,
    /// After `=` only.
    Optional,
}

#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ForbiddenOption {
    pub names: Vec<String>,
    pub reason: String,
}

/// How the client asks queries, and the queries that are asked as they stand.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Queries {
    /// Arguments with which the client reads queries from its standard input.
    #[serde(default)]
    pub arguments: Vec<String>,
    /// Answers the state of a database as JSON, once the server is ready: what it holds, and what the account may do.
    #[serde(default)]
    pub state: String,
    /// Answers once the server is ready, with the cipher of the connection in its second column.
    #[serde(default)]
    pub ready: String,
    /// Counts the tables of databases, each in a row with its name. `${databases}` is the list of them.
    #[serde(default)]
    pub tables: String,
    /// Counts routines in the same way.
    #[serde(default)]
    pub routines: String,
    /// Counts events in the same way.
    #[serde(default)]
    pub events: String,
    /// Answers the number of rows of each table as JSON, by the names that a record has.
    #[serde(default)]
    pub rows: String,
    /// Answers what the connections of this login do that come from `${ports}`: `works`, `waits` for somebody else or `idles`, with
    /// the server's words; as two columns, or as JSON, a list of lists.
    #[serde(default)]
    pub activity: String,
}

impl Engine {
    /// The programs that a worker may run for it.
    pub fn programs(&self) -> impl Iterator<Item = &str> {
        std::iter::once(&self.programs.client).chain(&self.programs.others).map(String::as_str)
    }

    /// The rules for the options of a program.
    #[must_use]
    pub fn options(&self, program: &str) -> Option<&OptionRules> {
        self.options.iter().find(|rules| rules.program == program)
    }

    /// Whether it answers to an AppBinding's type, such as `kubedb.com/mariadb` or `mariadb`.
    #[must_use]
    pub fn answers_to(&self, app_type: &str) -> bool {
        let resource = app_type.rsplit('/').next().unwrap_or_default();
        self.types.iter().any(|known| known.eq_ignore_ascii_case(resource))
    }

    /// The meaning of what a program wrote to standard error, if a rule knows it, and the line that it fits. Each line comes
    /// with the number of the error that it names.
    pub fn explain<'a>(
        &self,
        lines: impl Iterator<Item = (&'a str, Option<u32>)> + Clone,
    ) -> Option<(&ErrorRule, &'a str)> {
        self.errors.iter().find_map(|rule| {
            let (line, _) = lines.clone().find(|(line, number)| rule.fits(line, *number))?;
            Some((rule, line))
        })
    }
}

impl TlsOptions {
    /// The form of a mode for a version of the client.
    #[must_use]
    pub fn form(&self, mode: TlsMode, version: [u16; 3]) -> Option<&TlsForm> {
        let forms = match mode {
            TlsMode::Disabled => &self.disabled,
            TlsMode::Preferred => &self.preferred,
            TlsMode::Required => &self.required,
            TlsMode::VerifyCa => &self.verify_ca,
            TlsMode::VerifyIdentity => &self.verify_identity,
        };
        forms.iter().find(|form| version >= form.since)
    }
}

impl ErrorRule {
    fn fits(&self, line: &str, number: Option<u32>) -> bool {
        let has_number = number.map_or(self.numbers.is_empty(), |number| self.numbers.contains(&number));
        has_number && (self.contains.is_empty() || self.contains.iter().any(|text| line.contains(text.as_str())))
    }

    /// The hint of the rule that fits, or of none.
    #[must_use]
    pub fn hint_of(rule: Option<&Self>) -> &str {
        rule.map_or("see the message", |rule| rule.hint.as_str())
    }
}

impl LastLine {
    /// Whether a line, without its end, is the last one of a complete stream.
    #[must_use]
    pub fn is(&self, line: &[u8]) -> bool {
        self.whole.iter().any(|whole| line == whole.as_bytes())
            || self.starts.iter().any(|start| line.starts_with(start.as_bytes()))
    }

    /// Whether the last bytes of a stream hold its last line as a whole, and that line ends a complete stream.
    #[must_use]
    pub fn ends(&self, tail: &[u8]) -> bool {
        let Some(text) = tail.strip_suffix(b"\n") else { return false };
        let line = text.rsplit(|byte| *byte == b'\n').next().unwrap_or_default();
        // A tail that starts within the line proves nothing.
        line.len() < text.len() && self.is(line)
    }
}
