//! What people write: Stash's manifests parse unchanged, and what is wrong is refused with a message that says
//! where it is and what would be right.
#![allow(clippy::unwrap_used, reason = "tests")]

#[path = "manifests/addresses.rs"]
mod addresses;
#[path = "manifests/bases.rs"]
mod bases;
#[path = "manifests/configurations.rs"]
mod configurations;
#[path = "manifests/damaged.rs"]
mod damaged;
#[path = "manifests/namespaces.rs"]
mod namespaces;
#[path = "manifests/printed.rs"]
mod printed;
#[path = "manifests/stash.rs"]
mod stash;

use std::fmt::Write as _;

use bases::{BINDING, CONFIGURATION, FUNCTION, LOCAL, REPOSITORY, RESTORE, SERVICE, SESSION, TASK};
use lagan_schemas::manifest::{Manifest, ManifestError, parse, update_problems};
use lagan_schemas::resource::Object;

/// `base` with the line that starts with `key` replaced by `lines`, at the same indentation.
fn changed(base: &str, key: &str, lines: &str) -> String {
    let mut text = String::new();
    let mut hits = 0;
    for line in base.lines() {
        if line.trim_start().starts_with(key) {
            hits += 1;
            let indent = &line[..line.len() - line.trim_start().len()];
            for new in lines.lines() {
                writeln!(text, "{indent}{new}").unwrap();
            }
        } else {
            writeln!(text, "{line}").unwrap();
        }
    }
    assert_eq!(hits, 1, "`{key}` names one line of\n{base}");
    text
}

fn one(text: &str) -> Result<Manifest, ManifestError> {
    let mut all = parse("f.yaml", text);
    assert_eq!(all.len(), 1, "one document: {text}");
    all.remove(0)
}

fn object(text: &str) -> Object {
    match one(text) {
        Ok(Manifest::Object(object)) => *object,
        other => unreachable!("an object: {other:?}"),
    }
}

/// Base, line, its replacement, and what the error must say.
type Row = (&'static str, &'static str, &'static str, &'static str);

#[track_caller]
fn refused(rows: &[Row]) {
    let mut wrong = String::new();
    for (base, key, lines, expected) in rows {
        match one(&changed(base, key, lines)) {
            Err(error) if error.to_string().contains(expected) => {}
            Err(error) => writeln!(wrong, "{lines}\n  expected {expected}\n  but got  {error}").unwrap(),
            Ok(_) => writeln!(wrong, "{lines}\n  expected {expected}\n  but it is accepted").unwrap(),
        }
    }
    assert!(wrong.is_empty(), "\n{wrong}");
}

#[track_caller]
fn accepted(rows: &[(&str, &str, &str)]) {
    for (base, key, lines) in rows {
        let result = one(&changed(base, key, lines));
        assert!(result.is_ok(), "{lines}: {}", result.unwrap_err());
    }
}

#[test]
fn every_base_is_valid() {
    for base in [
        CONFIGURATION,
        configurations::BLUEPRINT,
        REPOSITORY,
        LOCAL,
        BINDING,
        SERVICE,
        RESTORE,
        SESSION,
        TASK,
        FUNCTION,
    ] {
        object(base);
    }
}

#[test]
fn a_restore_that_is_ambiguous_is_refused() {
    refused(&[
        (
            RESTORE,
            "- snapshots:",
            "- snapshots: [latest]\n- snapshots: [abc]",
            "target.rules: at most one rule without targetHosts",
        ),
        (
            RESTORE,
            "- snapshots:",
            "- snapshots: [a, b]",
            "target.rules[].snapshots: has no effect: a database is restored from one snapshot",
        ),
        (
            RESTORE,
            "repository:",
            "rules: [{snapshots: [a, b]}]\nrepository:",
            "rules[].snapshots: has no effect: a database is restored from one snapshot",
        ),
        (RESTORE, "repository:", "rules: [{}, {}]\nrepository:", "rules: at most one rule without targetHosts"),
        (
            RESTORE,
            "- snapshots:",
            "- {targetHosts: [a]}\n- {targetHosts: [b, a]}",
            "target.rules: a host may occur in one rule only",
        ),
        (
            RESTORE,
            "- snapshots:",
            "- snapshot: latest",
            "f.yaml:15:7: unknown field `snapshot`; did you mean `snapshots`?",
        ),
        (RESTORE, "repository:", "timeOut: -1m\nrepository:", "timeOut: can't be negative"),
        (
            RESTORE,
            "repository:",
            "databases: [a, b]\nas: c\nrepository:",
            "as: one database can get another name; name exactly one in databases, or leave as out",
        ),
        (
            RESTORE,
            "repository:",
            "databases: [a, b, a]\nrepository:",
            "databases: a name is there twice; name each database once",
        ),
        (RESTORE, "repository:", "verify: rows\nrepository:", "unknown value `rows`; did you mean `Rows`?"),
    ]);
    let targetless = RESTORE.split("  target:").next().unwrap();
    assert!(one(targetless).unwrap_err().to_string().ends_with("target.ref: name the AppBinding to restore into"));
    let (old, new) = (object(RESTORE), object(&changed(RESTORE, "- snapshots:", "- snapshots: [abc]")));
    assert_eq!(update_problems(&old, &old), Vec::<String>::new());
    assert_eq!(update_problems(&old, &new), ["spec: a session can't be changed; create a new one"]);
    accepted(&[(RESTORE, "- snapshots:", "- {targetHosts: [a], snapshots: [abc]}\n- {snapshots: [latest]}")]);
}

#[test]
fn other_kinds_have_rules_too() {
    refused(&[
        (TASK, "steps:", "steps: []\nvolumes:", "steps: name at least one Function"),
        (FUNCTION, "stdout:", "stdout: a\nstdin: b", "stream: name either `stdout` or `stdin`"),
        (FUNCTION, "stdout:", "{}", "stream: name either `stdout` or `stdin`"),
    ]);
    let batch = SESSION.replace("kind: BackupConfiguration", "kind: BackupBatch");
    assert!(one(&batch).unwrap_err().to_string().contains("invoker.kind: must be BackupConfiguration"));
    let (old, new) = (object(SESSION), object(&SESSION.replace("    name: shop\n", "    name: other\n")));
    assert_eq!(update_problems(&old, &old), Vec::<String>::new());
    assert_eq!(update_problems(&old, &new), ["spec: a session can't be changed; create a new one"]);
}

#[test]
fn documents_that_are_not_what_they_say_are_refused_where_they_are() {
    let c = CONFIGURATION;
    refused(&[
        (c, "timeZone:", "timezone: UTC", "f.yaml:8:3: unknown field `timezone`; did you mean `timeZone`?"),
        (c, "timeZone:", "frobnicate: 1", "f.yaml:8:3: unknown field `frobnicate`; known are "),
        (c, "timeZone:", "timeZone: [UTC]", "f.yaml:8:13: "),
        (c, "timeZone:", "schedule: 0 3 * * *", "f.yaml:8:3: "),
        (c, "keepLast:", "keepTags: null", "retentionPolicy: at least one keep rule"),
        (
            c,
            "apiVersion: lagan",
            "apiVersion: lagan.dev/v1",
            "BackupConfiguration has apiVersion `lagan.dev/v1`; Lagan reads lagan.dev/v1alpha1 and stash.appscode.com/v1beta1",
        ),
        (c, "apiVersion: lagan", "", "not a Kubernetes object: `apiVersion` and `kind` are missing"),
        (c, "kind: BackupC", "kind: BackupConfig", "unknown kind `BackupConfig`"),
        (c, "spec:", "specs:", "f.yaml:6:1: unknown field `specs`; did you mean `spec`?"),
        (c, "kind: BackupC", "kind: BackupConfiguration\nextra: 1", "f.yaml:3:1: unknown field `extra`"),
        (c, "name: shop", "name: ''", "BackupConfiguration: metadata.name: "),
        (c, "name: shop", "name: a b", "BackupConfiguration: metadata.name: `a b`"),
    ]);
    let second = format!("{CONFIGURATION}---\n# the second\n{}", changed(REPOSITORY, "bucket:", "buckett: x"));
    let all = parse("two.yaml", &second);
    assert!(all[0].is_ok() && all.len() == 2);
    let error = all[1].as_ref().unwrap_err();
    assert_eq!((error.line, error.column), (33, 7), "{error}");
    assert!(error.snippet.as_ref().unwrap().contains("buckett: x"), "{error:?}");
    let deployment = one("apiVersion: apps/v1\nkind: Deployment\nmetadata: {name: x}\nspec: {replicas: 1}\n").unwrap();
    assert!(matches!(deployment, Manifest::Foreign { kind, .. } if kind == "Deployment"));
}

#[test]
fn names_and_sizes_of_kubernetes_are_taken() {
    let longest = "a".repeat(253);
    for name in ["a.b.c", &longest, "123", "xn--bcher-kva"] {
        let text = CONFIGURATION.replace("name: shop", &format!("name: '{name}'"));
        assert_eq!(object(&text).metadata.name, name);
    }
    let too_long = CONFIGURATION.replace("name: shop", &format!("name: {}", "a".repeat(254)));
    assert!(one(&too_long).unwrap_err().to_string().contains("metadata.name: "));
    let labels: String = (0..10_000).map(|i| format!("    l{i}: v\n")).collect();
    let many = CONFIGURATION.replace("  namespace: demo\n", &format!("  namespace: demo\n  labels:\n{labels}"));
    assert_eq!(object(&many).metadata.labels.len(), 10_000);
    let big = |size: usize| {
        CONFIGURATION
            .replace("  namespace: demo\n", &format!("  namespace: demo\n  annotations: {{a: {}}}\n", "x".repeat(size)))
    };
    assert!(one(&big(1_400_000)).is_ok());
    assert!(one(&big(1_600_000)).unwrap_err().to_string().contains("is larger than 1500000"));
}

#[test]
fn a_field_without_effect_is_refused_in_our_group_and_accepted_in_that_of_stash() {
    let rows: &[Row] = &[
        (
            CONFIGURATION,
            "schedule:",
            "schedule: '@daily'\nruntimeSettings: {pod: {}}",
            "runtimeSettings: has no effect: ",
        ),
        (CONFIGURATION, "schedule:", "schedule: '@daily'\ntempDir: {}", "tempDir: has no effect: "),
        (CONFIGURATION, "ref:", "paths: [/a]\nref:", "target.paths: has no effect: "),
        (CONFIGURATION, "ref:", "args: [x]\nref:", "target.args: has no effect: "),
        (CONFIGURATION, "keepLast:", "keepLast: 5\nprune: true", "retentionPolicy.prune: has no effect: "),
        (
            CONFIGURATION,
            "apiVersion: appcatalog",
            "apiVersion: apps/v1",
            "target.ref.apiVersion: has no effect: an AppBinding is read from group appcatalog.appscode.com only; remove it",
        ),
        (RESTORE, "- snapshots:", "- {snapshots: [a, b]}", "target.rules[].snapshots: has no effect: "),
        (RESTORE, "- snapshots:", "- {include: [x]}", "target.rules[].include: has no effect: "),
        (LOCAL, "mountPath:", "mountPath: /a\nnfs: {server: s, path: /p}", "backend.local.nfs: has no effect: "),
        (LOCAL, "path:", "path: /a\ntype: Directory", "backend.local.hostPath.type: has no effect: "),
        (FUNCTION, "database:", "database: MariaDB\nimage: x", "image: has no effect: "),
        (TASK, "steps:", "volumes: [{name: x}]\nsteps:", "volumes: has no effect: "),
        (SESSION, "apiGroup:", "apiGroup: stash.appscode.com", "invoker.apiGroup: has no effect: "),
    ];
    refused(rows);
    for (base, key, lines, _) in rows {
        let stash = changed(base, key, lines)
            .replace("apiVersion: lagan.dev/v1alpha1", "apiVersion: stash.appscode.com/v1beta1");
        let stash = stash.replace("v1beta1\nkind: Repository", "v1alpha1\nkind: Repository");
        let stash = stash.replace("apiGroup: stash.appscode.com", "apiGroup: lagan.dev");
        assert!(!object(&stash).ignored_fields.is_empty(), "{stash}");
    }
    accepted(&[
        (CONFIGURATION, "schedule:", "schedule: '@daily'\ntempDir: null"),
        (CONFIGURATION, "keepLast:", "keepLast: 5\nprune: false"),
        (CONFIGURATION, "ref:", "paths: []\nref:"),
        (RESTORE, "- snapshots:", "- {snapshots: [a], include: []}"),
    ]);
}
