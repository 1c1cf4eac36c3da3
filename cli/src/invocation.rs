//! How `lagan` was called, and how the commands that it proposes are to be typed. It must not look anything up.

use std::ffi::OsStr;
use std::path::Path;

/// Under which name the program was started.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Invoked {
    #[default]
    AsLagan,
    /// By `kubectl lagan`, which runs `kubectl-lagan`.
    AsPlugin,
}

impl Invoked {
    /// From `argv[0]`; kubectl looks for `kubectl-lagan`, and for `kubectl_lagan` where a command has a dash.
    #[must_use]
    pub fn of(argv0: Option<&OsStr>) -> Self {
        let name = argv0.and_then(|name| Path::new(name).file_stem());
        if name.is_some_and(|name| name == "kubectl-lagan" || name == "kubectl_lagan") {
            Self::AsPlugin
        } else {
            Self::AsLagan
        }
    }

    /// What people type.
    #[must_use]
    pub const fn program(self) -> &'static str {
        match self {
            Self::AsLagan => "lagan",
            Self::AsPlugin => "kubectl lagan",
        }
    }
}

/// The program and the flags that lead to the same place again.
#[derive(Debug, Clone, Default)]
pub struct Typed {
    invoked: Invoked,
    flags: String,
}

impl Typed {
    #[must_use]
    pub fn new(invoked: Invoked) -> Self {
        Self { invoked, flags: String::new() }
    }

    /// With `--name value`, if there is a value.
    #[must_use]
    pub fn flag(mut self, name: &str, value: Option<&str>) -> Self {
        if let Some(value) = value {
            self.flags.push_str(&format!(" {name} {value}"));
        }
        self
    }

    /// `describe session/shop-1` as a whole command line.
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
            ("/usr/local/bin/kubectl-lagan", Invoked::AsPlugin),
            ("kubectl_lagan", Invoked::AsPlugin),
            ("kubectl-lagan.exe", Invoked::AsPlugin),
            ("./lagan", Invoked::AsLagan),
            ("kubectl-lagan/lagan", Invoked::AsLagan),
            ("", Invoked::AsLagan),
        ] {
            assert_eq!(Invoked::of(Some(OsStr::new(argv0))), invoked, "{argv0}");
        }
        assert_eq!(Invoked::of(None), Invoked::AsLagan);
    }

    #[test]
    fn a_proposed_command_leads_to_the_same_place() {
        let typed = Typed::new(Invoked::AsPlugin).flag("--context", Some("prod")).flag("-n", None);
        assert_eq!(typed.command("get sessions"), "kubectl lagan get sessions --context prod");
        assert_eq!(Typed::default().command("get sessions"), "lagan get sessions");
    }
}
