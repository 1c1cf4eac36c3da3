//! The name of the program as people type it, and the commands that it proposes. It must not look anything up.

use std::ffi::OsStr;
use std::path::Path;

/// The name under which the program was started.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum ProgramName {
    #[default]
    Lagan,
    /// `kubectl lagan`, for which kubectl runs `kubectl-lagan`.
    KubectlPlugin,
}

impl ProgramName {
    /// Reads `argv[0]`. kubectl finds a plugin as `kubectl-lagan` or `kubectl_lagan`.
    #[must_use]
    pub fn of(argv0: Option<&OsStr>) -> Self {
        let name = argv0.and_then(|name| Path::new(name).file_stem());
        if name.is_some_and(|name| name == "kubectl-lagan" || name == "kubectl_lagan") {
            Self::KubectlPlugin
        } else {
            Self::Lagan
        }
    }

    /// The program as people type it.
    #[must_use]
    pub const fn program(self) -> &'static str {
        match self {
            Self::Lagan => "lagan",
            Self::KubectlPlugin => "kubectl lagan",
        }
    }
}

/// A command line to propose: the program, and the flags that lead to the same Lagan again.
#[derive(Debug, Clone, Default)]
pub struct CommandTemplate {
    invoked: ProgramName,
    flags: String,
}

impl CommandTemplate {
    #[must_use]
    pub fn new(invoked: ProgramName) -> Self {
        Self { invoked, flags: String::new() }
    }

    /// Adds `--name value`, if there is a value.
    #[must_use]
    pub fn flag(mut self, name: &str, value: Option<&str>) -> Self {
        if let Some(value) = value {
            self.flags.push_str(&format!(" {name} {value}"));
        }
        self
    }

    /// The complete command line for words such as `describe session/shop-1`.
    #[must_use]
    pub fn command(&self, words: &str) -> String {
        format!("{} {words}{}", self.invoked.program(), self.flags)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kubectl_finds_the_plugin_by_its_file_name() {
        for (argv0, invoked) in [
            ("/usr/local/bin/kubectl-lagan", ProgramName::KubectlPlugin),
            ("kubectl_lagan", ProgramName::KubectlPlugin),
            ("kubectl-lagan.exe", ProgramName::KubectlPlugin),
            ("./lagan", ProgramName::Lagan),
            ("kubectl-lagan/lagan", ProgramName::Lagan),
            ("", ProgramName::Lagan),
        ] {
            assert_eq!(ProgramName::of(Some(OsStr::new(argv0))), invoked, "{argv0}");
        }
        assert_eq!(ProgramName::of(None), ProgramName::Lagan);
    }

    #[test]
    fn a_proposed_command_leads_to_the_same_place() {
        let typed = CommandTemplate::new(ProgramName::KubectlPlugin).flag("--context", Some("prod")).flag("-n", None);
        assert_eq!(typed.command("get sessions"), "kubectl lagan get sessions --context prod");
        assert_eq!(CommandTemplate::default().command("get sessions"), "lagan get sessions");
    }
}
