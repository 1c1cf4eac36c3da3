//! A program to run, as a value, and the rules that it must keep. The spawner starts it.

use std::path::PathBuf;

use secrecy::SecretString;

/// The environment of every child; a program can only add to it.
pub const BASE_ENV: [(&str, &str); 3] =
    [("PATH", "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"), ("LANG", "C"), ("TZ", "UTC")];

/// The kernel's limit for one argument, less its terminating NUL.
const ARGUMENT_BYTES: usize = 128 * 1024 - 1;
const ARGUMENTS_BYTES: usize = 1024 * 1024;
const FIRST_SECRET_FD: usize = 3;

/// Environment variables that change which code a child loads, where it reads its configuration or which server it uses.
const FORBIDDEN_ENV: [&str; 12] = [
    "PATH",
    "IFS",
    "ENV",
    "BASH_ENV",
    "SHELLOPTS",
    "HOME",
    "TZDIR",
    "LOCPATH",
    "GCONV_PATH",
    "TMPDIR",
    "NLSPATH",
    "HOSTALIASES",
];
const FORBIDDEN_ENV_PREFIXES: [&str; 4] = ["LD_", "DYLD_", "BASH_FUNC_", "OPENSSL_"];

/// A program with its arguments, environment, secrets and input.
#[derive(Debug)]
pub struct Program {
    /// An absolute path; no search path is used.
    pub executable: PathBuf,
    /// Passed without a shell. They must not hold secrets, because every user of the machine can read them.
    pub args: Vec<String>,
    /// Added to `BASE_ENV`; nothing is inherited. They must not hold secrets.
    pub env: Vec<(String, String)>,
    /// Contents of memory files; the child reads the n-th at `secret_path(n)`.
    pub secret_files: Vec<SecretString>,
    /// Values that are removed from the child's stderr.
    pub redact: Vec<SecretString>,
    /// Standard input, unless the child is fed (`Spawner::feed`).
    pub input: Input,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Input {
    Null,
    Bytes(Vec<u8>),
}

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ProgramError {
    #[error("program `{0}` is not an absolute path")]
    Relative(PathBuf),
    #[error("argument {index} contains a NUL byte")]
    Nul { index: usize },
    #[error("arguments are too long: {bytes} bytes; one may have {ARGUMENT_BYTES}, all together {ARGUMENTS_BYTES}")]
    TooLong { bytes: usize },
    #[error("environment name `{0}` is not allowed: it could redirect the program or is not a plain name")]
    Environment(String),
    #[error("environment value of `{0}` contains a NUL byte")]
    EnvironmentValue(String),
}

/// Returns the path at which the child finds its n-th secret file, counted from 0.
#[must_use]
pub fn secret_path(index: usize) -> String {
    format!("/proc/self/fd/{}", FIRST_SECRET_FD + index)
}

pub(super) fn secret_fd(index: usize) -> i32 {
    i32::try_from(FIRST_SECRET_FD + index).expect("a program has a handful of secret files")
}

impl Program {
    pub fn new(executable: impl Into<PathBuf>) -> Self {
        Self {
            executable: executable.into(),
            args: Vec::new(),
            env: Vec::new(),
            secret_files: Vec::new(),
            redact: Vec::new(),
            input: Input::Null,
        }
    }

    /// Returns the name for messages.
    #[must_use]
    pub fn name(&self) -> String {
        self.executable.file_name().unwrap_or(self.executable.as_os_str()).to_string_lossy().into_owned()
    }

    pub fn check(&self) -> Result<(), ProgramError> {
        if !self.executable.is_absolute() {
            return Err(ProgramError::Relative(self.executable.clone()));
        }
        if let Some(index) = self.args.iter().position(|arg| arg.contains('\0')) {
            return Err(ProgramError::Nul { index });
        }
        if let Some(long) = self.args.iter().find(|arg| arg.len() > ARGUMENT_BYTES) {
            return Err(ProgramError::TooLong { bytes: long.len() });
        }
        let bytes = self.args.iter().map(|arg| arg.len() + 1).sum();
        if bytes > ARGUMENTS_BYTES {
            return Err(ProgramError::TooLong { bytes });
        }
        self.env.iter().try_for_each(|(name, value)| check_env(name, value))
    }
}

fn check_env(name: &str, value: &str) -> Result<(), ProgramError> {
    let plain = name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_')
        && name.bytes().next().is_some_and(|b| !b.is_ascii_digit());
    let upper = name.to_ascii_uppercase();
    let forbidden = FORBIDDEN_ENV.contains(&upper.as_str())
        || FORBIDDEN_ENV_PREFIXES.iter().any(|prefix| upper.starts_with(prefix));
    if !plain || forbidden {
        return Err(ProgramError::Environment(name.to_owned()));
    }
    if value.contains('\0') {
        return Err(ProgramError::EnvironmentValue(name.to_owned()));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn with_env(name: &str) -> Result<(), ProgramError> {
        Program { env: vec![(name.into(), "x".into())], ..Program::new("/bin/true") }.check()
    }

    #[test]
    fn environment_names_that_could_redirect_a_program_are_refused() {
        for name in ["LD_PRELOAD", "ld_preload", "PATH", "A=B", "", "1A", "BASH_ENV", "ä"] {
            assert_eq!(with_env(name), Err(ProgramError::Environment(name.into())), "{name}");
        }
        assert_eq!(with_env("LAGAN_X1"), Ok(()));
    }

    #[test]
    fn an_argument_with_a_nul_or_of_a_mebibyte_is_refused() {
        let nul = Program { args: vec!["a".into(), "b\0".into()], ..Program::new("/bin/true") };
        assert_eq!(nul.check(), Err(ProgramError::Nul { index: 1 }));
        let long = Program { args: vec!["x".repeat(1 << 20)], ..Program::new("/bin/true") };
        assert_eq!(long.check(), Err(ProgramError::TooLong { bytes: 1 << 20 }));
        assert!(matches!(Program::new("true").check(), Err(ProgramError::Relative(_))));
    }
}
