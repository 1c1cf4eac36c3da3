//! Folders with many objects.

use std::fmt::Write as _;

use anyhow::Result;

use crate::lagan::Lagan;

/// Objects in one file.
const EACH: u64 = 500;

/// A Repository in a folder, and its Secret.
pub(super) fn repository(lagan: &Lagan, name: &str) -> String {
    format!(
        "apiVersion: v1
kind: Secret
metadata: {{name: {name}}}
stringData: {{RESTIC_PASSWORD: secret}}
---
apiVersion: lagan.dev/v1alpha1
kind: Repository
metadata: {{name: {name}}}
spec:
  backend: {{storageSecretName: {name}, local: {{mountPath: {}}}}}
",
        lagan.path(&format!("repository-{name}")).display()
    )
}

/// An AppBinding of a database that nobody asks, and its Secret.
pub(super) fn database(name: &str, port: u64) -> String {
    format!(
        "apiVersion: v1
kind: Secret
metadata: {{name: {name}-db}}
stringData: {{username: u, password: p}}
---
{}",
        binding(name, &format!("127.0.0.1:{port}"), &format!("{name}-db"))
    )
}

pub(super) fn binding(name: &str, address: &str, secret: &str) -> String {
    format!(
        "apiVersion: appcatalog.appscode.com/v1alpha1
kind: AppBinding
metadata: {{name: {name}}}
spec:
  type: mariadb
  clientConfig: {{url: \"mysql://{address}/\"}}
  secret: {{name: {secret}}}
"
    )
}

/// What a BackupConfiguration names.
#[derive(Clone)]
pub(super) struct Configured<'a> {
    pub binding: String,
    pub repository: String,
    pub schedule: &'a str,
    /// More lines of its spec, such as `task: {name: own}`.
    pub more: &'a str,
}

pub(super) fn configuration(name: &str, given: &Configured<'_>) -> String {
    let Configured { binding, repository, schedule, more } = given;
    format!(
        "apiVersion: lagan.dev/v1alpha1
kind: BackupConfiguration
metadata: {{name: {name}}}
spec:
  schedule: \"{schedule}\"
  target: {{ref: {{apiVersion: appcatalog.appscode.com/v1alpha1, kind: AppBinding, name: {binding}}}}}
  repository: {{name: {repository}}}
  retentionPolicy: {{name: keep, keepLast: 3}}
  {more}
"
    )
}

pub(super) fn session(name: &str, configuration: &str) -> String {
    format!(
        "apiVersion: lagan.dev/v1alpha1
kind: BackupSession
metadata: {{name: {name}}}
spec:
  invoker: {{apiGroup: lagan.dev, kind: BackupConfiguration, name: {configuration}}}
"
    )
}

/// Writes the documents of `0..number` into files.
pub(super) fn write(lagan: &Lagan, name: &str, number: u64, document: impl Fn(u64) -> String) -> Result<()> {
    let mut from = 0;
    while from < number {
        let to = number.min(from + EACH);
        let mut text = String::new();
        for index in from..to {
            let _ = write!(text, "---\n{}", document(index));
        }
        lagan.manifest(&format!("{name}-{from}.yaml"), &text)?;
        from = to;
    }
    Ok(())
}
