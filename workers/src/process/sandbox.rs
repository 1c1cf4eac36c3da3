//! The sandbox of a child: Landlock, which the kernel enforces for the child and everything that it starts. It may read and
//! execute the system's programs and libraries and use its own memory files, pipes and sockets. Everything else is out of
//! its reach: the token of the service account, the data directory, repositories, and other processes of the same user.

use std::path::Path;

use landlock::{
    ABI, Access, AccessFs, CompatLevel, Compatible, Ruleset, RulesetAttr, RulesetCreatedAttr, RulesetError,
    RulesetStatus, Scope, path_beneath_rules,
};

/// The newest set of rights that the rules below were written for. Older kernels enforce the part that they know.
const RIGHTS: ABI = ABI::V5;

/// Programs and libraries.
const EXECUTABLE: [&str; 8] = ["/usr", "/bin", "/sbin", "/lib", "/lib32", "/lib64", "/libx32", "/opt"];
/// Configuration that every program reads: names, time zones, certificates, the linker's cache. Not all of `/etc`, because
/// Secrets are mounted there.
const READABLE: [&str; 19] = [
    "/etc/alternatives",
    "/etc/ca-certificates",
    "/etc/gai.conf",
    "/etc/group",
    "/etc/host.conf",
    "/etc/hosts",
    "/etc/ld.so.cache",
    "/etc/ld.so.conf",
    "/etc/ld.so.conf.d",
    "/etc/localtime",
    "/etc/nsswitch.conf",
    "/etc/passwd",
    "/etc/pki",
    "/etc/protocols",
    "/etc/resolv.conf",
    "/etc/services",
    "/etc/ssl",
    "/dev/random",
    "/dev/urandom",
];
const WRITABLE: [&str; 3] = ["/dev/null", "/dev/zero", "/dev/full"];

/// Whether children run in a sandbox.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Sandbox {
    /// Never. For programs of Lagan itself, such as a NATS server.
    Off,
    /// Where the kernel has Landlock.
    WhereAvailable,
    /// Always: without Landlock no program starts.
    Required,
}

impl Sandbox {
    /// The word in the argv of the guard.
    #[must_use]
    pub const fn word(self) -> &'static str {
        match self {
            Self::Off => "off",
            Self::WhereAvailable => "available",
            Self::Required => "required",
        }
    }

    pub(super) fn of_word(word: &str) -> Option<Self> {
        [Self::Off, Self::WhereAvailable, Self::Required].into_iter().find(|sandbox| sandbox.word() == word)
    }
}

/// Tells whether this kernel has Landlock and lets this process use it. Nothing is restricted by asking.
#[must_use]
pub fn is_available() -> bool {
    let asked =
        Ruleset::default().set_compatibility(CompatLevel::HardRequirement).handle_access(AccessFs::from_all(ABI::V1));
    asked.and_then(Ruleset::create).is_ok()
}

/// Restricts this process and everything that it starts. Returns whether the kernel does it.
pub(super) fn enter(executable: &Path) -> Result<bool, RulesetError> {
    let (read, all) = (AccessFs::ReadFile | AccessFs::ReadDir, AccessFs::from_all(RIGHTS));
    // A program outside the system's folders brings its own files along.
    let own = executable.parent().filter(|folder| folder.parent().is_some());
    let status = Ruleset::default()
        .set_compatibility(CompatLevel::BestEffort)
        .handle_access(all)?
        .scope(Scope::from_all(ABI::V6))?
        .create()?
        .add_rules(path_beneath_rules(EXECUTABLE.iter().map(Path::new).chain(own), read | AccessFs::Execute))?
        .add_rules(path_beneath_rules(READABLE, read))?
        .add_rules(path_beneath_rules(WRITABLE, AccessFs::ReadFile | AccessFs::WriteFile))?
        .restrict_self()?;
    Ok(status.ruleset != RulesetStatus::NotEnforced)
}
